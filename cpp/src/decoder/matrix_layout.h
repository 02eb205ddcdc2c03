// How weights lie in memory: what packing and products agree on.
//
// A matrix is blocks of 16 outputs, each a single stream. A block of integer weights is spans of
// 128 or 256 inputs, each a header of scales and then chunks of 32 or 16 inputs. A vector of codes
// is 64 bytes: 16 outputs x 4 inputs. A chunk of 8-bit codes is its vectors; of narrower codes,
// lines of 64 bytes that hold vector 2t in their low halves and 2t + 1 in their high ones, then
// lines of what is above 4 bits: vector t's in the field t of the bytes.
// The weight is code * scale + offset, or (code - zero) * scale.
#pragma once

#include <cstdint>
#include <cstring>

#include "anydraft/detail/distribution.h"
#include "decoder/matrix.h"

namespace anydraft::detail {

constexpr int kBlockOutputs = 16;

enum class Scale {
  kHalf,        // float16 scale, [group][16]
  kHalfOffset,  // float16 scale and offset, [group][2][16]
  kSixBits,     // float16 scale and minimum [2][16]; 6-bit factors of both, 8 groups
  kByte,        // 8-bit factors [group][16], then their float16 scale [16]
  kRow,         // float32 scale [16] at the block's head
  kNone,        // float weights
};

struct Layout {
  const char* name;
  int bits;   // of a code
  int group;  // inputs that share a scale
  Scale scale;
  int zero;    // code of zero; 0 with an offset
  int span;    // inputs behind one header
  int header;  // bytes
  // Inputs that share a scale of the activations. Finer than llama.cpp's 256 for its K formats;
  // 64 for other small groups, where 128 costs SmolLM2 (Q4_1) 1.1 % of perplexity and 64 0.4 %.
  int row_group;

  constexpr bool has_offset() const {
    return scale == Scale::kHalfOffset || scale == Scale::kSixBits;
  }
  constexpr bool is_float() const { return scale == Scale::kNone; }
  constexpr int chunk() const { return group < 32 ? 16 : 32; }  // inputs
  constexpr int low_bytes() const { return chunk() * kBlockOutputs / (bits == 8 ? 1 : 2); }
  constexpr int high_bits() const { return bits == 8 ? 0 : bits - 4; }
  constexpr int chunk_bytes() const { return chunk() * kBlockOutputs * bits / 8; }
  constexpr int64_t chunks(int64_t inputs) const { return (inputs + chunk() - 1) / chunk(); }
  constexpr int head() const { return scale == Scale::kRow ? 64 : 0; }
  constexpr int64_t block_bytes(int64_t inputs) const {
    return head() + (inputs + span - 1) / span * header + chunks(inputs) * chunk_bytes();
  }
  // Of the header of the span that holds `input`, and of its chunk.
  constexpr int64_t header_at(int64_t input) const {
    return head() + input / span * (header + span / chunk() * chunk_bytes());
  }
  constexpr int64_t chunk_at(int64_t input) const {
    return header_at(input) + header + input % span / chunk() * chunk_bytes();
  }
};

// In the order of WeightFormat.
constexpr Layout kLayouts[] = {
    {"u4_group32", 4, 32, Scale::kHalfOffset, 0, 128, 256, 64},
    {"u4_group64", 4, 64, Scale::kHalfOffset, 0, 128, 128, 64},
    {"u4_group128", 4, 128, Scale::kHalfOffset, 0, 128, 64, 128},
    {"i8_group16", 8, 16, Scale::kHalf, 128, 128, 256, 64},
    {"i8_group32", 8, 32, Scale::kHalf, 128, 128, 128, 64},
    {"i8_row", 8, 128, Scale::kRow, 128, 128, 0, 128},
    {"q4_0", 4, 32, Scale::kHalf, 8, 128, 128, 64},
    {"q4_k", 4, 32, Scale::kSixBits, 0, 256, 256, 128},
    {"q5_0", 5, 32, Scale::kHalf, 16, 128, 128, 64},
    {"q5_1", 5, 32, Scale::kHalfOffset, 0, 128, 256, 64},
    {"q5_k", 5, 32, Scale::kSixBits, 0, 256, 256, 128},
    {"q6_k", 6, 16, Scale::kByte, 32, 256, 320, 128},
    {"bfloat16", 16, 16, Scale::kNone, 0, 16, 0, 128},  // lines of 2 inputs, [16][2]
    {"float16", 16, 16, Scale::kNone, 0, 16, 0, 128},   // [2][16]
    {"float32", 32, 16, Scale::kNone, 0, 16, 0, 128},   // [16]
};
constexpr Layout layout_of(WeightFormat format) { return kLayouts[static_cast<int>(format)]; }

// The 6-bit factors of a span lie as low halves [group][16] (scale | minimum << 4), then two bits
// each [group % 4][16]: at bits 0 and 2 those of scales of groups 0-3 and 4-7, at 4 and 6 minima's.
struct SixBits {
  uint8_t scales[8 * kBlockOutputs];
  uint8_t minima[8 * kBlockOutputs];

  SixBits() = default;
  explicit SixBits(const uint8_t* packed) {
    for (int i = 0; i < 64; ++i) {
      const uint8_t high = packed[128 + i];
      scales[i] = (packed[i] & 15) | (high & 3) << 4;
      scales[64 + i] = (packed[64 + i] & 15) | (high & 12) << 2;
      minima[i] = packed[i] >> 4 | (high & 48);
      minima[64 + i] = packed[64 + i] >> 4 | (high & 192) >> 2;
    }
  }
};

}  // namespace anydraft::detail
