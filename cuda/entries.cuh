// The masses of a node's two rows, entry by entry.
#pragma once

#include "block.cuh"

namespace anydraft::detail {

struct AnyReader {
  const void* row;
  DType dtype;
  ANYDRAFT_HD float operator()(int64_t at) const { return load(row, dtype, at); }
};

// Masses of the node's rows: mass() of detail/law.h.
template <class Read>
struct Entries {
  Law target_law, draft_law;
  Read target_row, draft_row;
  ANYDRAFT_HD static double mass_at(const Law& law, Read row, int64_t at) {
    if (law.one_hot >= 0) return at == law.one_hot ? 1.0 : 0.0;
    const float x = row(at);
    if (!(x >= law.lower)) return 0.0;
    return static_cast<double>(scaled_power(x, law.scale, law.exponent)) * law.inverse_total;
  }
  ANYDRAFT_HD double target(int64_t at) const { return mass_at(target_law, target_row, at); }
  ANYDRAFT_HD double draft(int64_t at) const { return mass_at(draft_law, draft_row, at); }
};

}  // namespace anydraft::detail
