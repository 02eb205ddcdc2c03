// Exact selection from a row without sorting it.
#pragma once

#include <cstdint>

#include "sampling/row_sums.h"

namespace anydraft::detail {

// What an entry counts: 1, or its weight in a nucleus (detail/distribution.h).
struct Weights {
  bool count_only = true;
  float scale = 0;
  int32_t exponent = 0;
};

// Entries >= lower of a row, or of a list of logits; `largest` is the largest of them.
struct Candidates {
  const float* list = nullptr;  // [size], not of a row
  int64_t size = 0;
  float lower = 0;
  float largest = 0;
  const RowSums* sums = nullptr;  // of a row: chunks below `lower` are skipped
};

// The largest logit whose entries, those >= it, weigh at least `target` together; -inf where even
// all candidates weigh less. Order does not matter: weights are integers.
float select(const Candidates& candidates, const Weights& weights, uint64_t target);

// The candidates' logits, kept until this thread's next call.
Candidates gather(const Candidates& candidates);

}  // namespace anydraft::detail
