#include "rows/fractions.h"

#include <algorithm>

#include "rows/sweeps.h"

namespace anydraft::detail {

void keep_chunk(const Distribution& distribution, int64_t chunk, Fractions& out) {
  const int64_t begin = chunk * kChunk, end = std::min<int64_t>(begin + kChunk, distribution.size);
  float* of = out.of.data() + begin;
  if (distribution.one_hot < 0) {
    out.scales[chunk] = distribution.inverse_total;
    sweeps().keep(distribution, begin, end, of);
    return;
  }
  out.scales[chunk] = 1;
  std::fill(of, of + (end - begin), 0.0f);
  if (distribution.one_hot >= begin && distribution.one_hot < end)
    of[distribution.one_hot - begin] = 1;
}

void keep_masses(const Distribution& distribution, Fractions& out) {
  out.fit(distribution.size);
  for (int64_t chunk = 0; chunk < chunks_of(distribution.size); ++chunk)
    keep_chunk(distribution, chunk, out);
}

}  // namespace anydraft::detail
