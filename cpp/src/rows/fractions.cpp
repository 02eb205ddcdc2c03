#include "rows/fractions.h"

#include "base/parallel.h"
#include "rows/chunks.h"

namespace anydraft::detail {

const float* Fractions::from(int64_t begin) const {
  static const float none[kChunk] = {};
  return scales[begin / kChunk] > 0 ? of.data() + begin : none;
}

void keep_chunk(const Distribution& distribution, int64_t chunk, Fractions& out) {
  const int64_t begin = chunk * kChunk, end = std::min<int64_t>(begin + kChunk, distribution.size);
  float* of = out.of.data() + begin;
  if (distribution.one_hot >= 0) {
    const bool here = distribution.one_hot >= begin && distribution.one_hot < end;
    out.scales[chunk] = here ? 1 : 0;
    if (!here) return;
    std::fill(of, of + (end - begin), 0.0f);
    of[distribution.one_hot - begin] = 1;
    return;
  }
  out.scales[chunk] = keep_terms(distribution, begin, end, of) ? distribution.inverse_total : 0;
}

void keep_masses(const Distribution& distribution, Fractions& out) {
  out.fit(distribution.size);
  parallel_each_chunk(
      chunks_of(distribution.size), [&](int64_t chunk) { keep_chunk(distribution, chunk, out); },
      cost_of(distribution));
}

}  // namespace anydraft::detail
