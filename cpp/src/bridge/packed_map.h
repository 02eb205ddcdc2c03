// Projections of a drafter's rows as the CUDA engine reads them: detail/projection.h.
#pragma once

#include <cstdint>
#include <vector>

#include "anydraft/cuda.h"
#include "bridge/slrs.h"

namespace anydraft {

// Target tokens that the drafter's tokens spell first, for psi where one begins; behind them all
// spellings, for psi inside one (TriePlace).
std::vector<int32_t> pack_token_trie(const DraftTokenTrie& token_trie, int64_t draft_size,
                                     int64_t target_vocab, int64_t draft_vocab);

}  // namespace anydraft
