// Draft rows as the CPU reads them: through the vocabulary map, where there is one.
#pragma once

#include <algorithm>
#include <cmath>

#include "anydraft/draft_row.h"
#include "anydraft/sampling.h"
#include "rows/chunks.h"
#include "rows/fractions.h"

namespace anydraft::detail {

inline bool is_inside(const DraftRow& row) { return row.place.depth > 0; }

// Where a row is and how it is read; its distribution is not known yet. Keeps references.
inline Distribution unread_row(const RowView& row) {
  Distribution distribution;
  distribution.row = row.data;
  distribution.dtype = row.dtype;
  distribution.size = row.cols;
  return distribution;
}
inline Distribution unread_row(const DraftRow& row) {
  Distribution distribution = unread_row(row.logits);
  if (!row.projection) return distribution;
  distribution.size = row.projection->vocab;
  distribution.map = row.projection->map;
  distribution.merged = row.merged.data();
  distribution.chunks = &row.projection->chunks;
  if (row.projection->spelt) distribution.weighed = &row.weighed;
  if (is_inside(row)) distribution.place = &row.place;
  return distribution;
}

// The masses [groups] of groups of ids, in ascending order, in the drafter's own distribution over
// `size` ids, each summed as mass_part says. Ids that it does not reach have none. Until this
// thread's next call.
const double* group_masses(const Fractions& masses, int64_t size, const GroupedId* first,
                           const GroupedId* last, int64_t groups);

// The lowest temperature, from `temperature` on, at which a float resolves logits of this size.
inline double resolving(float largest, double temperature) {
  return std::max(temperature, std::abs(largest) * 1e-6);
}

// Weighs a yet unread row without filters: at temperature 1 or, where that resolves nothing, the
// lowest that does. Reads it once; returns the largest logit. Throws
// Error(kNonFiniteLogits), for one without mass too.
float weigh(Distribution& row, int64_t name);
// As distribution_of; where `params` are greedy, and so say nothing but a token, by weigh().
Distribution weighed(const RowView& row, const SamplingParams& params);

inline RowDistribution known_of(const Distribution& distribution) {
  return {distribution.scale, distribution.lower, distribution.exponent, distribution.one_hot,
          distribution.inverse_total};
}

inline void take_known(const RowDistribution& known, Distribution& distribution) {
  distribution.scale = known.scale;
  distribution.lower = known.lower;
  distribution.exponent = known.exponent;
  distribution.one_hot = known.one_hot;
  distribution.inverse_total = known.inverse_total;
}

}  // namespace anydraft::detail
