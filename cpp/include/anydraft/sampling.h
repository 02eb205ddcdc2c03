// From a row of logits to a distribution, and draws from it.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "anydraft/detail/distribution.h"
#include "anydraft/random.h"
#include "anydraft/rows_view.h"

namespace anydraft {

// Applied in this order, each on the renormalised row: temperature, top-k, top-p, min-p. Ties at a
// boundary are all kept. Names as vLLM's. What the nucleus of top-p is, to the bit:
// detail/distribution.h.
struct SamplingParams {
  double temperature = 1.0;  // 0: greedy, ties to the lowest id; else >= 1e-4
  int32_t top_k = 0;         // 0: off
  double top_p = 1.0;        // (0, 1]; 1: off
  double min_p = 0.0;        // [0, 1); 0: off
  std::optional<uint64_t> seed;

  bool greedy() const { return temperature == 0; }
  void validate() const;  // throws Error(kValue)
};

namespace detail {
struct Fractions;  // the masses of a whole row
}

// The distribution of one row. `chunk_totals`, where given, receives the unnormalised total of each
// chunk (a draw needs them), `keep` the masses. Throws Error(kNonFiniteLogits) naming `index` for
// NaN, +inf or a row of -inf.
detail::Distribution make_distribution(const RowsView& rows, int64_t index,
                                       const SamplingParams& params,
                                       std::vector<double>* chunk_totals = nullptr,
                                       detail::Fractions* keep = nullptr);

// One token from row `index`.
int32_t sample_row(const RowsView& rows, int64_t index, const SamplingParams& params,
                   double uniform);

// One token a row, tokens[rows] from uniforms[rows]; rows in parallel (threads.h). Throws for the
// first bad row.
void sample_rows(const RowsView& rows, const SamplingParams& params, const double* uniforms,
                 int64_t* tokens);

// float32 [rows, cols], for looking; rows in parallel.
void write_probs(const RowsView& rows, const SamplingParams& params, float* out);

}  // namespace anydraft
