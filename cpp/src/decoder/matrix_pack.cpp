#include "decoder/matrix_pack.h"

namespace anydraft::detail {
namespace {

// Where the code of input `k` of a chunk lies: its byte, and the shift of its low bits.
struct Place {
  int low, shift;
};

Place place(const Layout& layout, int k, int lane) {
  const int vector = k / 4, in_vector = lane * 4 + k % 4;
  if (layout.bits == 8) return {vector * 64 + in_vector, 0};
  return {vector / 2 * 64 + in_vector, vector % 2 * 4};
}

// And of its bits above 4.
Place high_place(const Layout& layout, int k, int lane) {
  const int fields = 8 / layout.high_bits(), vector = k / 4;
  return {layout.low_bytes() + vector / fields * 64 + lane * 4 + k % 4,
          vector % fields * layout.high_bits()};
}

void add_bits(uint8_t* at, uint32_t bits) {
  bits |= read_as<uint32_t>(at);
  std::memcpy(at, &bits, 4);
}

// Four codes at a time; those behind the last input are 0.
void write_chunk(const Layout& layout, const uint8_t* codes, int lane, uint8_t* chunk) {
  for (int k = 0; k < layout.chunk(); k += 4) {
    const auto four = read_as<uint32_t>(codes + k);
    const uint32_t low = layout.bits == 8 ? four : four & 0x0f0f0f0f;
    const Place at = place(layout, k, lane);
    add_bits(chunk + at.low, low << at.shift);
    if (layout.high_bits() == 0) continue;
    const Place high = high_place(layout, k, lane);
    add_bits(chunk + high.low, (four >> 4 & 0x0f0f0f0f) << high.shift);
  }
}

void put_half(uint8_t* at, int index, uint16_t value) { std::memcpy(at + index * 2, &value, 2); }
float half_at(const uint8_t* at, int index) {
  return float_from_float16(read_as<uint16_t>(at + index * 2));
}

void write_six_bits(const Span& span, int group, int lane, uint8_t* packed) {
  const int scale = span.factors[group], minimum = span.min_factors[group];
  const int shift = group < 4 ? 0 : 2;
  packed[group * 16 + lane] = static_cast<uint8_t>((scale & 15) | (minimum & 15) << 4);
  packed[128 + group % 4 * 16 + lane] |=
      static_cast<uint8_t>(scale >> 4 << shift | minimum >> 4 << (shift + 4));
}

void write_header(const Layout& layout, const Span& span, int groups, int lane, uint8_t* header) {
  for (int g = 0; g < groups; ++g) {
    if (layout.scale == Scale::kHalf) put_half(header, g * 16 + lane, span.scales[g]);
    if (layout.scale == Scale::kHalfOffset) {
      put_half(header, g * 32 + lane, span.scales[g]);
      put_half(header, g * 32 + 16 + lane, span.offsets[g]);
    }
    if (layout.scale == Scale::kSixBits) write_six_bits(span, g, lane, header + 64);
    if (layout.scale == Scale::kByte) header[g * 16 + lane] = span.factors[g];
  }
  if (layout.scale == Scale::kSixBits) {
    put_half(header, lane, span.scale);
    put_half(header, 16 + lane, span.minimum);
  }
  if (layout.scale == Scale::kByte) put_half(header + 256, lane, span.scale);
}

struct Factors {
  float scale, offset;
};

Factors factors(const Layout& layout, const uint8_t* block, int64_t input, int lane) {
  const uint8_t* header = block + layout.header_at(input);
  const int group = static_cast<int>(input % layout.span / layout.group);
  switch (layout.scale) {
    case Scale::kHalf:
      return {half_at(header, group * 16 + lane), 0};
    case Scale::kHalfOffset:
      return {half_at(header, group * 32 + lane), half_at(header, group * 32 + 16 + lane)};
    case Scale::kSixBits: {
      const SixBits six(header + 64);
      const int at = group * 16 + lane;
      return {half_at(header, lane) * static_cast<float>(six.scales[at]),
              -(half_at(header, 16 + lane) * static_cast<float>(six.minima[at]))};
    }
    case Scale::kByte:
      return {half_at(header + 256, lane) *
                  static_cast<float>(static_cast<int8_t>(header[group * 16 + lane])),
              0};
    case Scale::kRow:
    case Scale::kNone:
      break;
  }
  return {read_as<float>(block + lane * 4), 0};
}

}  // namespace

void write_span(const Layout& layout, const Span& span, int64_t first, int64_t count, int lane,
                uint8_t* block) {
  const int groups = static_cast<int>((count + layout.group - 1) / layout.group);
  write_header(layout, span, groups, lane, block + layout.header_at(first));
  for (int64_t k = 0; k < count; k += layout.chunk()) {
    write_chunk(layout, span.codes + k, lane, block + layout.chunk_at(first + k));
  }
}

void read_span(const Layout& layout, const uint8_t* block, int64_t first, int64_t count, int lane,
               float* out) {
  Factors scaling{};
  for (int64_t k = 0; k < count; ++k) {
    if (k % layout.chunk() == 0) scaling = factors(layout, block, first + k, lane);
    const uint8_t* chunk = block + layout.chunk_at(first + k);
    const int in_chunk = static_cast<int>(k % layout.chunk());
    const Place at = place(layout, in_chunk, lane);
    int code = layout.bits == 8 ? chunk[at.low] : chunk[at.low] >> at.shift & 15;
    if (layout.high_bits() > 0) {
      const Place high = high_place(layout, in_chunk, lane);
      code |= (chunk[high.low] >> high.shift & ((1 << layout.high_bits()) - 1)) << 4;
    }
    const float times = static_cast<float>(code - layout.zero) * scaling.scale;
    out[k] = layout.has_offset() ? times + scaling.offset : times;
  }
}

}  // namespace anydraft::detail
