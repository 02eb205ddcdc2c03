// Rounding of float weights to the formats of our own.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "decoder/matrix_pack.h"

namespace anydraft::detail {

// Rounds a span of weights by group, or by `row_scale`. u4: scale and offset by least squares.
// Throws Error(kValue) where a scale doesn't fit float16.
void round_span(const Layout& layout, const float* weights, int count, float row_scale, Span& span);

uint16_t bfloat16_of(float x);  // to nearest, ties to even
uint16_t float16_of(float x);   // likewise; |x| <= 65504

inline bool all_finite(const float* x, int64_t count) {
  return std::all_of(x, x + count, [](float value) { return std::isfinite(value); });
}

template <class ReadRow>
float row_scale_of(ReadRow read, int64_t output, int64_t inputs) {
  float largest = 0, values[256];
  for (int64_t k = 0; k < inputs; k += 256) {
    const int64_t count = std::min<int64_t>(256, inputs - k);
    read(output, k, count, values);
    for (int64_t i = 0; i < count; ++i) largest = std::max(largest, std::fabs(values[i]));
  }
  return largest / 127;
}

}  // namespace anydraft::detail
