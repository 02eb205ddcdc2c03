// The masses of a whole row, kept for the sums over it.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "anydraft/detail/distribution.h"

namespace anydraft::detail {

// mass(token) = of[token] * scales[token / kChunk]. A chunk's fractions may be those of another
// power of two than the distribution's: their products are the same to the bit. Where a chunk's
// scale is 0 no token has mass, and its fractions are not written.
struct Fractions {
  std::vector<float> of;       // [cols], or more
  std::vector<double> scales;  // [chunks]

  void fit(int64_t cols) {
    scales.resize(chunks_of(cols));
    if (of.size() < scales.size() * kChunk) of.resize(scales.size() * kChunk);
  }
  // Makes a row of `cols` one of `size`; what is added has no mass.
  void extend(int64_t cols, int64_t size) {
    if (cols >= size) return;
    fit(size);
    const int64_t chunk_end = static_cast<int64_t>(chunks_of(cols)) * kChunk;
    std::fill(of.begin() + cols, of.begin() + chunk_end, 0.0f);
    std::fill(scales.begin() + chunks_of(cols), scales.end(), 0.0);
  }
  // The fractions from `begin` on, where a chunk begins.
  const float* from(int64_t begin) const;
};

void keep_chunk(const Distribution& distribution, int64_t chunk, Fractions& out);
void keep_masses(const Distribution& distribution, Fractions& out);  // of all chunks; fits `out`

}  // namespace anydraft::detail
