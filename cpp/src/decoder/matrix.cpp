#include "decoder/matrix.h"

#include <sys/mman.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <new>
#include <string>

#include "anydraft/error.h"
#include "base/parallel.h"
#include "decoder/matrix_pack.h"
#include "decoder/matrix_round.h"

namespace anydraft::detail {
namespace {

constexpr int64_t kHugePage = int64_t{1} << 21;

[[noreturn]] void refuse(const char* function, const std::string& expected,
                         const std::string& got) {
  throw Error(ErrorKind::kValue, std::string("[WeightMatrix::") + function + "] expected " +
                                     expected + ", got " + got);
}

// Calls f(output, first input, inputs, lane, block) for all spans, blocks on several threads.
template <class F>
void for_spans(const WeightMatrix& matrix, uint8_t* data, F f) {
  const int64_t span = layout_of(matrix.format()).span;
  parallel_for(
      matrix.blocks(),
      [&](int64_t b) {
        const int64_t first = b * kBlockOutputs;
        const int64_t end = std::min(first + kBlockOutputs, matrix.outputs());
        for (int64_t o = first; o < end; ++o) {
          for (int64_t k = 0; k < matrix.inputs(); k += span) {
            f(o, k, std::min(span, matrix.inputs() - k), static_cast<int>(o - first),
              data + b * matrix.block_bytes());
          }
        }
      },
      kBlockOutputs * matrix.inputs());
}

// Byte of a float weight in its block.
int64_t float_place(WeightFormat format, int64_t input, int lane) {
  if (format == WeightFormat::kFloat32) return (input * 16 + lane) * 4;
  if (format == WeightFormat::kFloat16) return (input * 16 + lane) * 2;
  return (input / 2 * 32 + lane * 2 + input % 2) * 2;
}

template <class T>
void write_floats(WeightFormat format, const T* from, int64_t first, int64_t count, int lane,
                  uint8_t* block) {
  for (int64_t k = 0; k < count; ++k) {
    std::memcpy(block + float_place(format, first + k, lane), from + k, sizeof(T));
  }
}

float read_float(WeightFormat format, const uint8_t* at) {
  if (format == WeightFormat::kFloat32) return read_as<float>(at);
  const uint16_t bits = read_as<uint16_t>(at);
  return format == WeightFormat::kFloat16 ? float_from_float16(bits) : float_from_bfloat16(bits);
}

WeightFormat format_of(GgmlType type) {
  switch (type) {
    case GgmlType::kF32:
      break;
    case GgmlType::kF16:
      return WeightFormat::kFloat16;
    case GgmlType::kBF16:
      return WeightFormat::kBfloat16;
    case GgmlType::kQ4_0:
      return WeightFormat::kQ4_0;
    case GgmlType::kQ4_1:
      return WeightFormat::kU4Group32;
    case GgmlType::kQ5_0:
      return WeightFormat::kQ5_0;
    case GgmlType::kQ5_1:
      return WeightFormat::kQ5_1;
    case GgmlType::kQ8_0:
      return WeightFormat::kI8Group32;
    case GgmlType::kQ4K:
      return WeightFormat::kQ4K;
    case GgmlType::kQ5K:
      return WeightFormat::kQ5K;
    case GgmlType::kQ6K:
      return WeightFormat::kQ6K;
  }
  return WeightFormat::kFloat32;
}

bool can_round_to(WeightFormat format) {
  return format <= WeightFormat::kI8Row || format == WeightFormat::kBfloat16 ||
         format == WeightFormat::kFloat32;
}

}  // namespace

const char* name_of(WeightFormat format) {
  static constexpr const char* kNames[] = {"u4_group32", "u4_group64", "u4_group128", "i8_group16",
                                           "i8_group32", "i8_row",     "q4_0",        "q4_k",
                                           "q5_0",       "q5_1",       "q5_k",        "q6_k",
                                           "bfloat16",   "float16",    "float32"};
  return kNames[static_cast<int>(format)];
}

void WeightMatrix::Free::operator()(uint8_t* data) const { std::free(data); }

WeightMatrix::WeightMatrix(WeightFormat format, int64_t outputs, int64_t inputs)
    : format_(format), outputs_(outputs), inputs_(inputs) {
  if (outputs < 1 || inputs < 1 || inputs > (int64_t{1} << 40) / ((outputs + 15) / 16 * 16)) {
    refuse("WeightMatrix", "1 <= outputs * inputs <= 2^40",
           std::to_string(outputs) + " x " + std::to_string(inputs));
  }
  block_bytes_ = layout_of(format).block_bytes(inputs);
  const int64_t bytes = blocks() * block_bytes_;
  // On huge pages what fills them: fewer misses of the TLB while a pass streams.
  const int64_t align = bytes >= kHugePage ? kHugePage : 64;
  data_.reset(static_cast<uint8_t*>(std::aligned_alloc(
      static_cast<size_t>(align), static_cast<size_t>((bytes + align - 1) / align * align))));
  if (!data_) throw std::bad_alloc();
  if (bytes >= kHugePage) {
    static_cast<void>(
        madvise(data_.get(), static_cast<size_t>(bytes / kHugePage * kHugePage), MADV_HUGEPAGE));
  }
  parallel_for(
      blocks(),
      [&](int64_t b) {
        std::memset(data_.get() + b * block_bytes_, 0, static_cast<size_t>(block_bytes_));
      },
      block_bytes_);
}

template <class ReadRow>
WeightMatrix WeightMatrix::quantize(ReadRow read, int64_t outputs, int64_t inputs,
                                    WeightFormat format) {
  if (!can_round_to(format)) {
    refuse("from_float", "a u4 or i8 format, bfloat16 or float32", name_of(format));
  }
  WeightMatrix matrix(format, outputs, inputs);
  const Layout layout = layout_of(format);
  for_spans(matrix, matrix.data_.get(),
            [&](int64_t o, int64_t first, int64_t count, int lane, uint8_t* block) {
              float row_scale = 0;
              if (layout.scale == Scale::kRow) {
                // Once a row: at its first span.
                if (first == 0) {
                  row_scale = row_scale_of(read, o, inputs);
                  std::memcpy(block + lane * 4, &row_scale, 4);
                }
                row_scale = read_as<float>(block + lane * 4);
              }
              float values[256];
              read(o, first, count, values);
              if (!all_finite(values, count)) {
                refuse("from_float", "finite weights", "others in output " + std::to_string(o));
              }
              if (layout.is_float()) {
                uint16_t rounded[256];
                for (int64_t k = 0; k < count; ++k) rounded[k] = bfloat16_of(values[k]);
                if (format == WeightFormat::kFloat32) {
                  write_floats(format, values, first, count, lane, block);
                } else {
                  write_floats(format, rounded, first, count, lane, block);
                }
                return;
              }
              Span span{};
              round_span(layout, values, static_cast<int>(count), row_scale, span);
              write_span(layout, span, first, count, lane, block);
            });
  return matrix;
}

WeightMatrix WeightMatrix::from_float(const float* weights, int64_t outputs, int64_t inputs,
                                      WeightFormat format) {
  const auto read = [=](int64_t o, int64_t first, int64_t count, float* out) {
    std::copy_n(weights + o * inputs + first, count, out);
  };
  return quantize(read, outputs, inputs, format);
}

WeightMatrix WeightMatrix::from_bfloat16(const uint16_t* weights, int64_t outputs, int64_t inputs,
                                         WeightFormat format) {
  const auto read = [=](int64_t o, int64_t first, int64_t count, float* out) {
    const uint16_t* row = weights + o * inputs + first;
    for (int64_t k = 0; k < count; ++k) out[k] = float_from_bfloat16(row[k]);
  };
  return quantize(read, outputs, inputs, format);
}

WeightMatrix WeightMatrix::from_ggml(GgmlType type, const void* raw, int64_t outputs,
                                     int64_t inputs) {
  const GgmlBlock size = ggml_block(type);
  if (size.inputs == 0) {
    refuse("from_ggml", "a supported type", "type " + std::to_string(static_cast<uint32_t>(type)));
  }
  if (inputs % size.inputs != 0) {
    refuse("from_ggml", "inputs in blocks of " + std::to_string(size.inputs),
           std::to_string(inputs));
  }
  WeightMatrix matrix(format_of(type), outputs, inputs);
  const WeightFormat format = matrix.format_;
  const Layout layout = layout_of(format);
  for_spans(matrix, matrix.data_.get(),
            [&](int64_t o, int64_t first, int64_t count, int lane, uint8_t* block) {
              const uint8_t* from = static_cast<const uint8_t*>(raw) +
                                    (o * inputs + first) / size.inputs * size.bytes;
              if (layout.is_float()) {
                for (int64_t k = 0; k < count; ++k) {
                  std::memcpy(block + float_place(format, first + k, lane), from + k * size.bytes,
                              static_cast<size_t>(size.bytes));
                }
                return;
              }
              Span span{};
              read_ggml(type, from, count, span);
              write_span(layout, span, first, count, lane, block);
            });
  return matrix;
}

void WeightMatrix::dequantize_row(int64_t output, float* out) const {
  const Layout layout = layout_of(format_);
  const uint8_t* from = block(output / kBlockOutputs);
  const int lane = static_cast<int>(output % kBlockOutputs);
  for (int64_t k = 0; k < inputs_; k += layout.span) {
    const int64_t count = std::min<int64_t>(layout.span, inputs_ - k);
    if (!layout.is_float()) {
      read_span(layout, from, k, count, lane, out + k);
      continue;
    }
    for (int64_t i = k; i < k + count; ++i) {
      out[i] = read_float(format_, from + float_place(format_, i, lane));
    }
  }
}

}  // namespace anydraft::detail
