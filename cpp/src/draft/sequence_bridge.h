// Drafts in target tokens as the drafter's sequences begin with them: string-level rejection
// sampling with a general stop rule.
#pragma once

#include <vector>

#include "bridge/sequences.h"
#include "draft/spelling_bridge.h"

namespace anydraft {

// No sequence is drawn. Which ones go on is decided by the stop rule from their masses alone, so
// all of them together give psi, and a child is drawn from psi itself; the sequences that begin
// with it are what its own children's psi is made of. So psi is never "of the drawn token only",
// and verification needs no further call of the drafter for its residual.
class SequenceBridge : public DraftBridge {
 public:
  explicit SequenceBridge(DraftRound& round);
  void start(const TokenIds& committed, int64_t remaining) override;
  // Keeps the row of a trie's node: what is drawn waits for others.
  Expansion draw(int32_t node, int32_t width, const RowView& row, int32_t number) override;
  bool ends(int32_t) const override { return false; }
  bool weighs_itself() const override { return true; }
  std::vector<int32_t> next_frontier() override;
  void finish() override {}
  bool goes_by_text() const override { return true; }
  std::string text_to(int32_t node) const override {  // of what was fed
    return trie_.has_row(node) ? trie_.text(node) : std::string();
  }

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

  PsiSampling psi_;
  SequenceTrie trie_;            // its nodes are those of the round's tree
  std::vector<Growth> growths_;  // [nodes of the draft's tree]
};

}  // namespace anydraft
