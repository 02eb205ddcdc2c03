// The rows that children are drawn from, read by target ids wherever the drafter left them.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "anydraft/detail/distribution.h"
#include "anydraft/rows_view.h"

namespace anydraft {

// A drafter id that shares its target id with others, and the group of the map that these are.
struct GroupedId {
  int32_t id, group;
};

// How a drafter's ids stand for the target's: one for all rows of a pair of models. It owns
// nothing.
struct ProjectionView {
  const int32_t* map = nullptr;  // of pack_map, or of pack_token_trie where `spelt`
  int64_t vocab = 0;             // target ids that it was packed for
  int64_t draft_vocab = 0;       // drafter ids; a row has at least as many columns
  // A row stands for the target tokens that the drafter's tokens spell next (string-level rejection
  // sampling's psi), not for those with the same bytes.
  bool spelt = false;
  detail::MapChunks chunks{};          // of `map`
  int64_t map_size = 0;                // numbers in `map`
  const GroupedId* grouped = nullptr;  // `spelt`: the groups of `map` [grouped_count], by id
  int64_t grouped_count = 0;
};

// One draft row. No row over the target's ids is written: each entry is fetched when it is read.
// prepare() and draw_children() of draft.h fill in the fields below `place`.
struct DraftRow {
  RowView logits;
  const ProjectionView* projection = nullptr;  // null: the row's ids are the target's
  TriePlace place{0, 0, 0};                    // `spelt`: inside a drafter token, if depth > 0

  RowDistribution weighed{};  // `spelt`: the distribution of the drafter's own tokens
  // Logits [groups of the map] of the target tokens that several drafter tokens stand for.
  std::vector<float> merged;
  // The distribution children were drawn from: verification then does not normalise the row again.
  std::optional<RowDistribution> known;
};

}  // namespace anydraft
