#include <algorithm>
#include <vector>

#include "anydraft/sampling.h"
#include "base/parallel.h"
#include "rows/chunks.h"
#include "rows/picks.h"

namespace anydraft {

using detail::Distribution;
using detail::kChunk;

int32_t sample_row(const RowsView& rows, int64_t index, const SamplingParams& params,
                   double uniform) {
  thread_local std::vector<double> totals;
  const Distribution distribution = make_distribution(rows, index, params, &totals);
  if (distribution.one_hot >= 0) return distribution.one_hot;
  return detail::pick_from_distribution(distribution, totals, uniform);
}

void sample_rows(const RowsView& rows, const SamplingParams& params, const double* uniforms,
                 int64_t* tokens) {
  params.validate();
  detail::parallel_for(
      rows.rows, [&](int64_t i) { tokens[i] = sample_row(rows, i, params, uniforms[i]); },
      rows.cols);
}

void write_probs(const RowsView& rows, const SamplingParams& params, float* out) {
  params.validate();
  detail::parallel_for(
      rows.rows,
      [&](int64_t index) {
        const Distribution distribution = make_distribution(rows, index, params);
        double masses[kChunk];
        for (int64_t begin = 0; begin < rows.cols; begin += kChunk) {
          const int64_t end = std::min<int64_t>(begin + kChunk, rows.cols);
          detail::masses_of(distribution, begin, end, masses);
          std::copy(masses, masses + (end - begin), out + index * rows.cols + begin);
        }
      },
      rows.cols);
}

}  // namespace anydraft
