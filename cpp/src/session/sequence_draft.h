// Drafts in target tokens as the drafter's sequences begin with them: string-level rejection
// sampling with a general stop rule.
#pragma once

#include <vector>

#include "bridge/sequences.h"
#include "session/slrs_draft.h"

namespace anydraft {

// No sequence is drawn. Which ones go on is decided by the stop rule from their masses alone, so
// all of them together give psi, and a child is drawn from psi itself; the sequences that begin
// with it are what its own children's psi is made of. So psi is never "of the drawn token only",
// and verification needs no further call of the drafter for its residual.
class SequenceDraft : public SlrsDraft {
 public:
  SequenceDraft(const Pair& pair, const Request& request, Stats& stats);
  void start(const TokenIds& committed, int64_t remaining) override;

 protected:
  // Keeps the row of a trie's node: what is drawn waits for others.
  Expansion draw(int32_t node, int32_t width, const RowsView& rows, int64_t row,
                 int32_t uniform) override;
  std::vector<int32_t> next_frontier(const RowsView& rows, int64_t row) override;
  void finish() override {}
  bool ends(int32_t) const override { return false; }
  std::vector<int32_t> taken_path(const TokenIds& committed,
                                  const std::vector<int32_t>& path) const override;

 private:
  struct Growth {
    Sequences sequences;
    int32_t rows = 0;  // spent
  };
  std::vector<int32_t> likeliest(Growth& growth);
  void grow(Growth& growth, std::vector<int32_t>& wanted);
  int32_t node_of(const Sequence& sequence);
  bool fits(const Sequence& sequence) const;
  void draw_children(int32_t node);
  void count(const Growth& growth);

  SequenceTrie trie_;            // its nodes are those of tree_
  std::vector<Growth> growths_;  // [nodes of the proposal's tree]
};

}  // namespace anydraft
