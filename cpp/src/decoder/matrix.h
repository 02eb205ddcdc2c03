// Weights of a linear layer, packed for reading once a pass.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <optional>
#include <string_view>
#include <vector>

namespace anydraft::detail {

// u4: w = code * scale + offset by group of 32, 64 or 128 inputs (scale and offset in float16).
// i8: w = code * scale by group (float16 scale) or by row (float32 scale).
// Those of GGUF files hold exactly the file's values, in the file's size.
// Of the integers' formats those that `rounded` makes come first, up to kI8Row.
enum class WeightFormat {
  kU4Group32,  // also Q4_1
  kU4Group64,
  kU4Group128,
  kI8Group16,
  kI8Group32,  // also Q8_0
  kI8Row,
  kQ4_0,
  kQ4K,
  kQ5_0,
  kQ5_1,
  kQ5K,
  kQ6K,
  kBfloat16,
  kFloat16,
  kFloat32,
};

const char* name_of(WeightFormat format);

// Types of tensors in GGUF files, by their numbers there: those that are supported.
enum class GgmlType : uint32_t {
  kF32 = 0,
  kF16 = 1,
  kQ4_0 = 2,
  kQ4_1 = 3,
  kQ5_0 = 6,
  kQ5_1 = 7,
  kQ8_0 = 8,
  kQ4K = 12,
  kQ5K = 13,
  kQ6K = 14,
  kBF16 = 30,
};

// How files store numbers: `block` of them in `bytes` bytes.
struct ElementType {
  GgmlType id;
  const char* name;
  int32_t block, bytes;
  std::optional<WeightFormat> format = {};  // that holds the same; none: not supported
  bool is_float() const { return block == 1 && format; }
};
const ElementType* element_type(GgmlType id);            // null: not known
const ElementType* element_type(std::string_view name);  // of safetensors: plain numbers

template <class T>
inline T read_as(const void* from) {
  T value;
  std::memcpy(&value, from, sizeof value);
  return value;
}
// To nearest, ties to even; NaN stays NaN.
inline uint16_t bfloat16_of(float x) {
  const uint32_t bits = read_as<uint32_t>(&x);
  if ((bits & 0x7fffffff) > 0x7f800000) return static_cast<uint16_t>(bits >> 16 | 0x40);
  return static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}
float read_float(WeightFormat format, const uint8_t* at);  // one of the three float formats

struct Free {  // of std::aligned_alloc
  void operator()(void* memory) const { std::free(memory); }
};

// [outputs, inputs]. Packing runs on several threads; movable, not copyable.
class WeightMatrix {
 public:
  WeightMatrix() = default;
  // Rounds rows of F32, F16 or BF16 to `format`: u4 and i8 formats, kBfloat16, kFloat32. `raw` as
  // below. Throws Error(kValue) for other formats, and for weights that are not finite.
  static WeightMatrix rounded(GgmlType type, const void* raw, int64_t outputs, int64_t inputs,
                              WeightFormat format);
  static WeightMatrix from_float(const float* weights, int64_t outputs, int64_t inputs,
                                 WeightFormat format) {
    return rounded(GgmlType::kF32, weights, outputs, inputs, format);
  }
  // Exactly the file's values. `raw` holds the rows as they stand in the file, without alignment.
  // Throws Error(kValue) for a type that is not supported, or inputs that don't fill its blocks.
  static WeightMatrix from_ggml(GgmlType type, const void* raw, int64_t outputs, int64_t inputs);

  WeightFormat format() const { return format_; }
  int64_t outputs() const { return outputs_; }
  int64_t inputs() const { return inputs_; }
  // What one pass reads.
  int64_t bytes() const { return blocks() * block_bytes_; }
  // out[inputs]: the weights of one output, say an embedding.
  void dequantize_row(int64_t output, float* out) const;

  // Blocks of 16 outputs, see matrix_layout.h.
  int64_t blocks() const { return (outputs_ + 15) / 16; }
  int64_t block_bytes() const { return block_bytes_; }
  const uint8_t* block(int64_t index) const { return data_.get() + index * block_bytes_; }

 private:
  WeightMatrix(WeightFormat format, int64_t outputs, int64_t inputs);

  WeightFormat format_ = WeightFormat::kFloat32;
  int64_t outputs_ = 0, inputs_ = 0, block_bytes_ = 0;
  std::unique_ptr<uint8_t, Free> data_;
};

}  // namespace anydraft::detail
