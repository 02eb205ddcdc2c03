// Draws from masses in the fixed order: a chunk by the chunk totals, then an entry within it.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "anydraft/detail/distribution.h"
#include "anydraft/detail/play.h"

namespace anydraft::detail {

// Sum in the fixed order: 32 lanes, then their tree.
double fold(const double* values, int64_t count);

// Two levels: groups of 32 entries, then an entry, so that a warp can do the same.
int64_t pick_in_chunk(const double* masses, int64_t count, double share);

// The token where the cumulative mass passes uniform * total; never one without mass.
// `masses_of(begin, end, out)` gives a chunk's masses; `totals` the chunk totals at any scale.
template <class Masses>
int32_t pick_from(int64_t size, const std::vector<double>& totals, double uniform,
                  Masses masses_of) {
  double sum = 0;
  for (double total : totals) sum += total;
  double left = uniform * sum;
  const int64_t chunk = pass(totals.data(), static_cast<int64_t>(totals.size()), left);
  const int64_t begin = chunk * kChunk, end = std::min<int64_t>(begin + kChunk, size);
  double masses[kChunk];
  masses_of(begin, end, masses);
  return static_cast<int32_t>(begin + pick_in_chunk(masses, end - begin, left / totals[chunk]));
}

// From a distribution and its chunk totals.
int32_t pick_from_distribution(const Distribution& distribution, const std::vector<double>& totals,
                               double uniform);

}  // namespace anydraft::detail
