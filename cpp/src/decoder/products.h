// Products of few rows with packed weights: what a decoder's pass consists of.
#pragma once

#include <cstdint>
#include <vector>

#include "decoder/matrix.h"

namespace anydraft::detail {

using Tiles = std::vector<uint32_t>;

// y[rows, outputs] = x[rows, inputs] * W^T + bias.
struct Product {
  const WeightMatrix* weights;
  float* y;                     // [rows, y_stride]
  int64_t y_stride;             // >= outputs
  const float* bias = nullptr;  // [outputs] or null
};

// All products of one x (queries, keys and values; gate and up) in one go over the threads: up to
// 8 rows in one pass over the weights, more by tiles.
//
// Integer weights: x is rounded to 8 bits by row and group of 64 or 128, integer sums are exact.
// Float weights: x stays float32, sums run in a fixed order. So the bits of a row's result depend
// neither on the rows beside it, nor on the number of threads, nor on the instruction set. A row
// that isn't finite gives NaN.
//
// `tiles`: memory for x as it is read, kept from call to call, of one caller at a time.
// At most 8 products. Throws Error(kValue) for more, where the matrices' inputs differ, or rows <
// 0.
void product(Tiles& tiles, const float* x, int64_t rows, int64_t x_stride, const Product* products,
             int64_t count);

inline void product(Tiles& tiles, const WeightMatrix& weights, const float* x, int64_t rows,
                    float* y, const float* bias = nullptr) {
  const Product one{&weights, y, weights.outputs(), bias};
  product(tiles, x, rows, weights.inputs(), &one, 1);
}

}  // namespace anydraft::detail
