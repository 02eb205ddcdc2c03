// From a row that is yet unread to its distribution.
#pragma once

#include <vector>

#include "anydraft/sampling.h"

namespace anydraft::detail {

// What a reading leaves behind, chunk by chunk.
struct RowReading {
  std::vector<double> totals;  // in units of 2^exponent; not of greedy distributions
  std::vector<float> maxima;   // largest logits
};

// Fills in the distribution of a row of which it says where it is and how it is read; `keep`
// receives the masses. False: no entry has mass. Throws Error(kNonFiniteLogits) naming the row for
// NaN or +inf.
bool normalise(Distribution& row, const SamplingParams& params, int64_t name, RowReading* reading,
               Fractions* keep);

[[noreturn]] void fail_without_mass(int64_t name);

// Of a row read by its own ids. Throws for one without mass too.
Distribution distribution_of(const RowView& row, const SamplingParams& params,
                             RowReading* reading = nullptr, Fractions* keep = nullptr);

}  // namespace anydraft::detail
