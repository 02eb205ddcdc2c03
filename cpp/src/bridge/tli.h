// Token-level intersection: the drafter's distribution on the shared tokens, carried to target ids.
// Timor et al. 2025, algorithm 4.
#pragma once

#include <vector>

#include "anydraft/rows_view.h"
#include "anydraft/sampling.h"
#include "anydraft/vocabulary.h"

namespace anydraft::detail {

// Logits over `width` target ids whose distribution is q restricted to the intersection: -inf
// outside it, and the logarithm of the summed mass where several drafter ids stand for one target
// token. Throws Error(kNonFiniteLogits) for NaN or +inf.
std::vector<float> project(const RowsView& rows, int64_t index, const VocabularyMap& map,
                           int64_t width, const SamplingParams& params);

// Of the drafter ids that stand for `target`, the likeliest.
int32_t drafter_id(const RowsView& rows, int64_t index, const VocabularyMap& map, int32_t target);

// Whether any entry is not -inf; a NaN is left to make_distribution to report.
bool has_mass(const std::vector<float>& logits);

}  // namespace anydraft::detail
