// The blocks of GGUF files, as ggml's documentation of its types describes them.
#include "decoder/matrix_pack.h"

namespace anydraft::detail {
namespace {

constexpr ElementType kTypes[] = {
    {GgmlType::kF32, "F32", 1, 4, WeightFormat::kFloat32},
    {GgmlType::kF16, "F16", 1, 2, WeightFormat::kFloat16},
    {GgmlType::kQ4_0, "Q4_0", 32, 18, WeightFormat::kQ4_0},
    {GgmlType::kQ4_1, "Q4_1", 32, 20, WeightFormat::kU4Group32},
    {GgmlType::kQ5_0, "Q5_0", 32, 22, WeightFormat::kQ5_0},
    {GgmlType::kQ5_1, "Q5_1", 32, 24, WeightFormat::kQ5_1},
    {GgmlType::kQ8_0, "Q8_0", 32, 34, WeightFormat::kI8Group32},
    {GgmlType{9}, "Q8_1", 32, 36},
    {GgmlType{10}, "Q2_K", 256, 84},
    {GgmlType{11}, "Q3_K", 256, 110},
    {GgmlType::kQ4K, "Q4_K", 256, 144, WeightFormat::kQ4K},
    {GgmlType::kQ5K, "Q5_K", 256, 176, WeightFormat::kQ5K},
    {GgmlType::kQ6K, "Q6_K", 256, 210, WeightFormat::kQ6K},
    {GgmlType{15}, "Q8_K", 256, 292},
    {GgmlType{16}, "IQ2_XXS", 256, 66},
    {GgmlType{17}, "IQ2_XS", 256, 74},
    {GgmlType{18}, "IQ3_XXS", 256, 98},
    {GgmlType{19}, "IQ1_S", 256, 50},
    {GgmlType{20}, "IQ4_NL", 32, 18},
    {GgmlType{21}, "IQ3_S", 256, 110},
    {GgmlType{22}, "IQ2_S", 256, 82},
    {GgmlType{23}, "IQ4_XS", 256, 136},
    {GgmlType{24}, "I8", 1, 1},
    {GgmlType{25}, "I16", 1, 2},
    {GgmlType{26}, "I32", 1, 4},
    {GgmlType{27}, "I64", 1, 8},
    {GgmlType{28}, "F64", 1, 8},
    {GgmlType{29}, "IQ1_M", 256, 56},
    {GgmlType::kBF16, "BF16", 1, 2, WeightFormat::kBfloat16},
    {GgmlType{34}, "TQ1_0", 256, 54},
    {GgmlType{35}, "TQ2_0", 256, 66},
    {GgmlType{39}, "MXFP4", 32, 17},
};

// 16 bytes: inputs 0-15 in the low halves, 16-31 in the high ones.
void low_halves(const uint8_t* packed, uint8_t* codes) {
  for (int k = 0; k < 16; ++k) {
    codes[k] = packed[k] & 15;
    codes[16 + k] = packed[k] >> 4;
  }
}

void fifth_bits(const uint8_t* packed, uint8_t* codes) {
  const uint32_t bits = read_as<uint32_t>(packed);
  for (int k = 0; k < 32; ++k) codes[k] |= static_cast<uint8_t>((bits >> k & 1) << 4);
}

// A block of 32 inputs: scale, perhaps offset, perhaps fifth bits, then codes.
void read_small(GgmlType type, const uint8_t* raw, int group, Span& span) {
  uint8_t* codes = span.codes + group * 32;
  span.scales[group] = read_as<uint16_t>(raw);
  raw += 2;
  if (type == GgmlType::kQ4_1 || type == GgmlType::kQ5_1) {
    span.offsets[group] = read_as<uint16_t>(raw);
    raw += 2;
  }
  if (type == GgmlType::kQ8_0) {
    for (int k = 0; k < 32; ++k) codes[k] = raw[k] ^ 128;
  } else if (type == GgmlType::kQ5_0 || type == GgmlType::kQ5_1) {
    low_halves(raw + 4, codes);
    fifth_bits(raw, codes);
  } else {
    low_halves(raw, codes);
  }
}

// 12 bytes: eight scales and minima of 6 bits.
void six_bits(const uint8_t* packed, Span& span) {
  for (int g = 0; g < 4; ++g) {
    span.factors[g] = packed[g] & 63;
    span.min_factors[g] = packed[g + 4] & 63;
    span.factors[g + 4] = (packed[g + 8] & 15) | packed[g] >> 6 << 4;
    span.min_factors[g + 4] = packed[g + 8] >> 4 | packed[g + 4] >> 6 << 4;
  }
}

void read_q45k(bool five, const uint8_t* raw, Span& span) {
  span.scale = read_as<uint16_t>(raw);
  span.minimum = read_as<uint16_t>(raw + 2);
  six_bits(raw + 4, span);
  const uint8_t* high = raw + 16;
  const uint8_t* low = five ? raw + 48 : raw + 16;
  for (int pair = 0; pair < 4; ++pair) {
    uint8_t* codes = span.codes + pair * 64;
    for (int l = 0; l < 32; ++l) {
      const uint8_t byte = low[pair * 32 + l];
      const int top = five ? high[l] >> (pair * 2) : 0;
      codes[l] = static_cast<uint8_t>((byte & 15) | (top & 1) << 4);
      codes[32 + l] = static_cast<uint8_t>(byte >> 4 | (top >> 1 & 1) << 4);
    }
  }
}

void read_q6k(const uint8_t* raw, Span& span) {
  for (int half = 0; half < 2; ++half) {
    const uint8_t *low = raw + half * 64, *high = raw + 128 + half * 32;
    uint8_t* codes = span.codes + half * 128;
    for (int l = 0; l < 32; ++l) {
      const int first = low[l], second = low[32 + l], top = high[l];
      codes[l] = static_cast<uint8_t>((first & 15) | (top & 3) << 4);
      codes[32 + l] = static_cast<uint8_t>((second & 15) | (top >> 2 & 3) << 4);
      codes[64 + l] = static_cast<uint8_t>(first >> 4 | (top >> 4 & 3) << 4);
      codes[96 + l] = static_cast<uint8_t>(second >> 4 | top >> 6 << 4);
    }
  }
  std::memcpy(span.factors, raw + 192, 16);
  span.scale = read_as<uint16_t>(raw + 208);
}

}  // namespace

const ElementType* element_type(GgmlType id) {
  for (const ElementType& type : kTypes) {
    if (type.id == id) return &type;
  }
  return nullptr;
}

const ElementType* element_type(std::string_view name) {
  for (const ElementType& type : kTypes) {
    if (type.block == 1 && type.name == name) return &type;
  }
  return nullptr;
}

void read_ggml(GgmlType type, const uint8_t* raw, int64_t count, Span& span) {
  if (type == GgmlType::kQ6K) return read_q6k(raw, span);
  if (type == GgmlType::kQ4K || type == GgmlType::kQ5K) {
    return read_q45k(type == GgmlType::kQ5K, raw, span);
  }
  const int64_t bytes = element_type(type)->bytes;
  for (int g = 0; g < count / 32; ++g) read_small(type, raw + g * bytes, g, span);
}

}  // namespace anydraft::detail
