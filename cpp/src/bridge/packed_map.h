// Projections of a drafter's rows as the CUDA engine reads them: detail/projection.h.
#pragma once

#include <cstdint>
#include <vector>

#include "anydraft/cuda.h"
#include "bridge/slrs.h"

namespace anydraft {

// psi at the root: target tokens that the drafter's tokens spell first.
std::vector<int32_t> pack_spellings(const Spellings& spellings, int64_t draft_size,
                                    int64_t target_vocab, int64_t draft_vocab);

}  // namespace anydraft
