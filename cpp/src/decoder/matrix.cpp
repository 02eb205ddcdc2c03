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

namespace anydraft::detail {
namespace {

constexpr int64_t kHugePage = int64_t{1} << 21;

[[noreturn]] void refuse(const std::string& function, const std::string& expected,
                         const std::string& got) {
  throw Error(ErrorKind::kValue,
              "[WeightMatrix::" + function + "] expected " + expected + ", got " + got);
}

// Zeroed memory. What fills whole pages of 2 MB asks for huge ones: fewer misses of the TLB.
uint8_t* allocate(int64_t bytes) {
  const int64_t align = bytes >= kHugePage ? kHugePage : 64;
  const size_t size = static_cast<size_t>((bytes + align - 1) / align * align);
  void* const data = std::aligned_alloc(static_cast<size_t>(align), size);
  if (!data) throw std::bad_alloc();
  const size_t huge = static_cast<size_t>(bytes / kHugePage * kHugePage);
  if (huge > 0) static_cast<void>(madvise(data, huge, MADV_HUGEPAGE));
  const auto clear = [&](int64_t page) {
    std::memset(static_cast<uint8_t*>(data) + page * kHugePage, 0,
                static_cast<size_t>(std::min(kHugePage, bytes - page * kHugePage)));
  };
  parallel_for((bytes + kHugePage - 1) / kHugePage, clear);
  return static_cast<uint8_t*>(data);
}

// Calls f(output, first input, inputs, lane, block) for all spans, blocks on several threads.
template <class F>
void for_spans(const WeightMatrix& matrix, uint8_t* data, F f) {
  const int64_t span = layout_of(matrix.format()).span;
  const auto pack_block = [&](int64_t b) {
    const int64_t first = b * kBlockOutputs;
    for (int64_t o = first; o < std::min(first + kBlockOutputs, matrix.outputs()); ++o) {
      for (int64_t k = 0; k < matrix.inputs(); k += span) {
        f(o, k, std::min(span, matrix.inputs() - k), static_cast<int>(o - first),
          data + b * matrix.block_bytes());
      }
    }
  };
  parallel_for(matrix.blocks(), pack_block, kBlockOutputs * matrix.inputs());
}

// Where a float weight lies in its block.
int64_t float_place(WeightFormat format, int64_t input, int lane) {
  if (format == WeightFormat::kFloat32) return (input * 16 + lane) * 4;
  if (format == WeightFormat::kFloat16) return (input * 16 + lane) * 2;
  return (input / 2 * 32 + lane * 2 + input % 2) * 2;
}

void write_float(WeightFormat format, float x, uint8_t* at) {
  const uint16_t bits = bfloat16_of(x);
  if (format == WeightFormat::kFloat32) {
    std::memcpy(at, &x, 4);
  } else {
    std::memcpy(at, &bits, 2);
  }
}

float largest_of(WeightFormat from, const uint8_t* row, int64_t count, int64_t each) {
  float largest = 0;
  for (int64_t k = 0; k < count; ++k) {
    largest = std::max(largest, std::fabs(read_float(from, row + k * each)));
  }
  return largest;
}

}  // namespace

float read_float(WeightFormat format, const uint8_t* at) {
  if (format == WeightFormat::kFloat32) return read_as<float>(at);
  const uint16_t bits = read_as<uint16_t>(at);
  return format == WeightFormat::kFloat16 ? float_from_float16(bits) : float_from_bfloat16(bits);
}

const char* name_of(WeightFormat format) { return layout_of(format).name; }

WeightMatrix::WeightMatrix(WeightFormat format, int64_t outputs, int64_t inputs)
    : format_(format), outputs_(outputs), inputs_(inputs) {
  constexpr int64_t kMost = int64_t{1} << 40;
  if (outputs < 1 || inputs < 1 || outputs > kMost || inputs > kMost / (outputs + 15)) {
    refuse("WeightMatrix", "1 <= outputs * inputs <= 2^40",
           std::to_string(outputs) + " x " + std::to_string(inputs));
  }
  block_bytes_ = layout_of(format).block_bytes(inputs);
  data_.reset(allocate(bytes()));
}

WeightMatrix WeightMatrix::rounded(GgmlType type, const void* raw, int64_t outputs, int64_t inputs,
                                   WeightFormat format) {
  const Layout layout = layout_of(format);
  const ElementType* const given = element_type(type);
  if (!given || !given->is_float()) refuse("rounded", "weights in F32, F16 or BF16", "others");
  if ((layout.is_float() && format == WeightFormat::kFloat16) ||
      (!layout.is_float() && format > WeightFormat::kI8Row)) {
    refuse("rounded", "a u4 or i8 format, bfloat16 or float32", name_of(format));
  }
  WeightMatrix matrix(format, outputs, inputs);
  const auto pack = [&](int64_t o, int64_t first, int64_t count, int lane, uint8_t* block) {
    const uint8_t* row = static_cast<const uint8_t*>(raw) + o * inputs * given->bytes;
    if (layout.scale == Scale::kRow && first == 0) {
      const float scale = largest_of(*given->format, row, inputs, given->bytes) / 127;
      std::memcpy(block + lane * 4, &scale, 4);
    }
    float values[256];
    for (int64_t k = 0; k < count; ++k) {
      values[k] = read_float(*given->format, row + (first + k) * given->bytes);
    }
    if (!std::all_of(values, values + count, [](float w) { return std::isfinite(w); })) {
      refuse("rounded", "finite weights", "others in output " + std::to_string(o));
    }
    if (layout.is_float()) {
      for (int64_t k = 0; k < count; ++k) {
        write_float(format, values[k], block + float_place(format, first + k, lane));
      }
      return;
    }
    Span span{};
    const float row_scale = layout.scale == Scale::kRow ? read_as<float>(block + lane * 4) : 0;
    round_span(layout, values, static_cast<int>(count), row_scale, span);
    write_span(layout, span, first, count, lane, block);
  };
  for_spans(matrix, matrix.data_.get(), pack);
  return matrix;
}

WeightMatrix WeightMatrix::from_ggml(GgmlType type, const void* raw, int64_t outputs,
                                     int64_t inputs) {
  const ElementType* const size = element_type(type);
  if (!size || !size->format) {
    refuse("from_ggml", "a supported type", "type " + std::to_string(static_cast<uint32_t>(type)));
  }
  if (inputs % size->block != 0) {
    refuse("from_ggml", "inputs in blocks of " + std::to_string(size->block),
           std::to_string(inputs));
  }
  WeightMatrix matrix(*size->format, outputs, inputs);
  const Layout layout = layout_of(*size->format);
  const auto pack = [&](int64_t o, int64_t first, int64_t count, int lane, uint8_t* block) {
    const uint8_t* from =
        static_cast<const uint8_t*>(raw) + (o * inputs + first) / size->block * size->bytes;
    if (layout.is_float()) {
      for (int64_t k = 0; k < count; ++k, from += size->bytes) {
        std::memcpy(block + float_place(*size->format, first + k, lane), from,
                    static_cast<size_t>(size->bytes));
      }
      return;
    }
    Span span{};
    read_ggml(type, from, count, span);
    write_span(layout, span, first, count, lane, block);
  };
  for_spans(matrix, matrix.data_.get(), pack);
  return matrix;
}

void WeightMatrix::dequantize_row(int64_t output, float* out) const {
  const Layout layout = layout_of(format_);
  const uint8_t* from = block(output / kBlockOutputs);
  const int lane = static_cast<int>(output % kBlockOutputs);
  for (int64_t k = 0; k < inputs_ && layout.is_float(); ++k) {
    out[k] = read_float(format_, from + float_place(format_, k, lane));
  }
  for (int64_t k = 0; k < inputs_ && !layout.is_float(); k += layout.span) {
    read_span(layout, from, k, std::min<int64_t>(layout.span, inputs_ - k), lane, out + k);
  }
}

}  // namespace anydraft::detail
