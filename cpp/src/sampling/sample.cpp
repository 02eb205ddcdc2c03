#include <algorithm>
#include <vector>

#include "anydraft/sampling.h"
#include "base/parallel.h"
#include "rows/kernels.h"
#include "rows/picks.h"

namespace anydraft {

using detail::kChunk;
using detail::Law;

int32_t sample_row(const RowsView& rows, int64_t index, const SamplingParams& params, double coin) {
  thread_local std::vector<double> totals;
  const Law law = make_law(rows, index, params, &totals);
  if (law.one_hot >= 0) return law.one_hot;
  return detail::pick_from_law(law, totals, coin);
}

void sample_rows(const RowsView& rows, const SamplingParams& params, const double* coins,
                 int64_t* tokens) {
  params.validate();
  detail::parallel_for(
      rows.rows, [&](int64_t i) { tokens[i] = sample_row(rows, i, params, coins[i]); }, rows.cols);
}

void write_probs(const RowsView& rows, const SamplingParams& params, float* out) {
  params.validate();
  detail::parallel_for(
      rows.rows,
      [&](int64_t index) {
        const Law law = make_law(rows, index, params);
        double masses[kChunk];
        for (int64_t begin = 0; begin < rows.cols; begin += kChunk) {
          const int64_t end = std::min<int64_t>(begin + kChunk, rows.cols);
          detail::kernels().masses(law, begin, end, masses);
          std::copy(masses, masses + (end - begin), out + index * rows.cols + begin);
        }
      },
      rows.cols);
}

}  // namespace anydraft
