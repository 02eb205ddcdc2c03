// A map from a drafter's rows to target ids, as the CPU and the CUDA engine read them.
#pragma once

#include <cstdint>
#include <vector>

#include "anydraft/draft_row.h"
#include "bridge/slrs.h"

namespace anydraft {

// One a pair of vocabularies and width of their logits; immutable. `draft_vocab`: columns of the
// drafter's logits, or its tokens where these are fewer. Ids from it on have no mass. Both throw
// Error(kValue) for empty vocabularies.
class Projection {
 public:
  // Token-level intersection: the target tokens of a drafter token's bytes or role.
  Projection(const VocabularyMap& map, int64_t target_vocab, int64_t draft_vocab);
  // String-level rejection sampling: those that its spelling begins with.
  Projection(const DraftTokenTrie& token_trie, int64_t draft_size, int64_t target_vocab,
             int64_t draft_vocab);
  Projection(const Projection&) = delete;
  Projection& operator=(const Projection&) = delete;

  const ProjectionView& view() const { return view_; }
  const std::vector<int32_t>& packed() const { return packed_; }  // what a device takes

 private:
  void cut_into_chunks();
  void end_chunk();
  void order_groups();

  std::vector<int32_t> packed_, starts_, ids_, group_starts_, groups_;
  std::vector<uint32_t> lines_;
  std::vector<uint16_t> group_at_;
  std::vector<GroupedId> grouped_;
  ProjectionView view_;
};

}  // namespace anydraft
