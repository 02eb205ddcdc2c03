#include "rows/fractions.h"

#include <algorithm>

#include "rows/sweeps.h"

namespace anydraft::detail {

void keep_chunk(const Law& law, int64_t chunk, Fractions& out) {
  const int64_t begin = chunk * kChunk, end = std::min<int64_t>(begin + kChunk, law.size);
  float* of = out.of.data() + begin;
  if (law.one_hot < 0) {
    out.scales[chunk] = law.inverse_total;
    sweeps().keep(law, begin, end, of);
    return;
  }
  out.scales[chunk] = 1;
  std::fill(of, of + (end - begin), 0.0f);
  if (law.one_hot >= begin && law.one_hot < end) of[law.one_hot - begin] = 1;
}

void keep_masses(const Law& law, Fractions& out) {
  out.fit(law.size);
  for (int64_t chunk = 0; chunk < chunks_of(law.size); ++chunk) keep_chunk(law, chunk, out);
}

}  // namespace anydraft::detail
