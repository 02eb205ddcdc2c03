// Sums over kept masses of one chunk, once per instruction set; the results do not depend on which.
#pragma once

#include <cstdint>

#include "anydraft/detail/distribution.h"

namespace anydraft::detail {

// Two rows of kept fractions: mass = fraction * scale.
struct Pair {
  const float* target;
  const float* draft;  // not read where `drafted` is 0
  double target_scale, draft_scale;
};

struct Sweeps {
  // Fractions of a distribution with masses: mass(distribution, begin + i) = out[i] *
  // distribution.inverse_total.
  void (*keep)(const Distribution& distribution, int64_t begin, int64_t end, float* out);
  // relu(weight * target - drafted * draft) of each entry [count <= kChunk] (detail/play.h).
  void (*residual)(const Pair& rows, int64_t count, double weight, double drafted, double* out);
  // Its sum in the fixed order.
  double (*residual_sum)(const Pair& rows, int64_t count, double weight, double drafted);
  // Sum of min(draft, cap * target).
  double (*overlap)(const Pair& rows, int64_t count, double cap);
};

const Sweeps& sweeps();  // those of kernels()

}  // namespace anydraft::detail
