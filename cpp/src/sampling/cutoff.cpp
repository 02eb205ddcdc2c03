#include "sampling/cutoff.h"

#include <algorithm>
#include <cmath>

#include "sampling/select.h"

namespace anydraft::detail {
namespace {

Candidates entries_of(const RowSums& sums, float lower) {
  return {nullptr, sums.size(), lower, sums.largest(), &sums};
}

// The k-th largest of the lanes' maxima is a lower bound of the k-th largest entry, and few entries
// lie above it.
float bound_from_lanes(const RowSums& sums, float lower, int32_t top_k,
                       const std::vector<float>& lanes) {
  const auto size = static_cast<int64_t>(lanes.size());
  if (top_k > size) return lower;
  Candidates maxima{lanes.data(), size, lower, sums.largest(), nullptr};
  maxima = gather(maxima);  // without those of masked lanes
  return std::max(lower, select(maxima, {}, top_k));
}

// Leaves in `kept` the entries >= the k-th largest.
void keep_top_k(Candidates& kept, const RowSums& sums, int32_t top_k,
                const std::vector<float>& lanes) {
  kept = gather(entries_of(sums, bound_from_lanes(sums, kept.lower, top_k, lanes)));
  kept.lower = std::max(kept.lower, select(kept, {}, top_k));
}

uint64_t weight_to_reach(double top_p, double total) {
  return std::max<uint64_t>(static_cast<uint64_t>(top_p * total * double{kNucleusUnit}), 1);
}

// Entries below the result have less mass than 1 - top_p together.
float bound_from_total(const Distribution& distribution, double top_p, double total) {
  const double each = (1 - top_p) * total / static_cast<double>(distribution.size);
  const double octaves = std::log2(each) + distribution.exponent - 0.01;  // rounding errs downwards
  return std::max(distribution.lower, static_cast<float>(octaves / distribution.scale));
}

}  // namespace

float cutoff(RowSums& sums, const Distribution& distribution, const SamplingParams& params,
             const std::vector<float>& lanes) {
  Candidates kept = entries_of(sums, distribution.lower);
  const bool top_k = cuts_top_k(params, distribution.size);
  if (top_k) keep_top_k(kept, sums, params.top_k, lanes);
  float lower = kept.lower;
  if (params.top_p < 1) {
    const Weights weights{false, distribution.scale, distribution.exponent};
    const double total = sums.total(lower, distribution.exponent);
    const uint64_t target = weight_to_reach(params.top_p, total);
    if (!top_k)
      kept.lower = std::min(bound_from_total(distribution, params.top_p, total), sums.largest());
    float found = select(kept, weights, target);
    if (found == -INFINITY && kept.lower > lower) {  // rounding: the bound hid what was needed
      kept.lower = lower;
      found = select(kept, weights, target);
    }
    lower = std::max(lower, found);
  }
  if (params.min_p > 0) {
    const double octaves = std::log2(params.min_p);
    lower = std::max(lower, static_cast<float>(sums.largest() + octaves / distribution.scale));
  }
  return std::min(lower, sums.largest());
}

}  // namespace anydraft::detail
