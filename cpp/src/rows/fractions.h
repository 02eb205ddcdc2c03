// The masses of a whole row, kept for the sums over it.
#pragma once

#include <cstdint>
#include <vector>

#include "anydraft/detail/distribution.h"

namespace anydraft::detail {

// mass(token) = of[token] * scales[token / kChunk]. A chunk's fractions may be those of another
// power of two than the distribution's: their products are the same to the bit.
struct Fractions {
  std::vector<float> of;       // [cols]
  std::vector<double> scales;  // [chunks]

  void fit(int64_t cols) {
    of.resize(cols);
    scales.resize(chunks_of(cols));
  }
};

void keep_chunk(const Distribution& distribution, int64_t chunk, Fractions& out);
void keep_masses(const Distribution& distribution, Fractions& out);  // of all chunks; fits `out`

}  // namespace anydraft::detail
