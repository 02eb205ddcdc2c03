// Writes and reads the layout of matrix_layout.h.
#pragma once

#include <cstdint>

#include "decoder/matrix_layout.h"

namespace anydraft::detail {

// One output's integer weights over a span, as its format stores them.
struct Span {
  uint8_t codes[256];
  uint16_t scales[8], offsets[8];       // kHalf, kHalfOffset: float16 by group
  uint16_t scale, minimum;              // kSixBits, kByte: float16
  uint8_t factors[16], min_factors[8];  // by group; kByte: int8
};

// `lane`: the output's place in its block. `count`: the inputs of the span, others being absent.
void write_span(const Layout& layout, const Span& span, int64_t first, int64_t count, int lane,
                uint8_t* block);

// out[0 ... count): the weights of `lane` in inputs first ..., of one span.
void read_span(const Layout& layout, const uint8_t* block, int64_t first, int64_t count, int lane,
               float* out);

// Reads blocks of a GGUF type of integers into a span: its first `count` inputs.
void read_ggml(GgmlType type, const uint8_t* raw, int64_t count, Span& span);

// Rounds a span of weights by group, or by `row_scale`. u4: scale and offset by least squares.
// Throws Error(kValue) where a scale doesn't fit float16.
void round_span(const Layout& layout, const float* weights, int count, float row_scale, Span& span);

}  // namespace anydraft::detail
