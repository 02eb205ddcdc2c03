// The loops of products, once per instruction set.
#pragma once

#include <cstdint>

#include "decoder/matrix_layout.h"

namespace anydraft::detail {

constexpr int kFormats = static_cast<int>(WeightFormat::kFloat32) + 1;
constexpr int kMostTile = 8;

// A tile: 1 to 8 rows of x, as one format's products read them. Float weights: [input][row].
// Integer weights, by group of row_group inputs: 4 rounded inputs a word [row_group / 4][row], sums
// of the rounded inputs by the weights' groups [row_group / group][row] (times -zero, or float32
// for an offset), and the scale [row]. Formats that agree in this share tiles.
constexpr int tile_kind(WeightFormat format) {
  const Layout layout = layout_of(format);
  return layout.is_float() ? 0 : (layout.row_group * 256 + layout.group) * 256 + layout.zero;
}
constexpr int64_t row_words(WeightFormat format, int64_t inputs) {
  const Layout layout = layout_of(format);
  if (layout.is_float()) return (inputs + 15) / 16 * 16;
  const int group = layout.row_group;
  return (inputs + group - 1) / group * (group / 4 + group / layout.group + 1);
}

struct ProductKernels {
  int tile;  // rows in one pass
  void (*make_tile[kFormats])(const float* x, int64_t x_stride, int rows, int64_t inputs,
                              uint32_t* tile);
  // 16 outputs of one block of weights for each row, `stride` numbers apart.
  void (*multiply[kFormats][kMostTile])(const uint8_t* block, int64_t inputs, const uint32_t* tile,
                                        float* out, int64_t stride);
};

const ProductKernels& portable_product_kernels();
const ProductKernels& avx2_product_kernels();    // the portable ones where not compiled in
const ProductKernels& avx512_product_kernels();  // likewise

}  // namespace anydraft::detail
