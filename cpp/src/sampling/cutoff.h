// The cut-off logit of top-k, top-p and min-p.
#pragma once

#include <vector>

#include "anydraft/sampling.h"
#include "sampling/row_sums.h"

namespace anydraft::detail {

// `distribution` is that of the temperature alone. `lanes`: the largest logits of each chunk's 32
// lanes, needed for top-k.
float cutoff(RowSums& sums, const Distribution& distribution, const SamplingParams& params,
             const std::vector<float>& lanes);

inline bool cuts_top_k(const SamplingParams& params, int64_t size) {
  return params.top_k > 0 && params.top_k < size;
}

}  // namespace anydraft::detail
