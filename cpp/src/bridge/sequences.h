// String-level rejection sampling with any stop rule: the distribution of the target token that a
// drafter's sequence begins with, over a trie of the drafter's rows that its sequences share. Timor
// et al. 2025, algorithm 3; that no sequence is drawn, but its target tokens, is ours.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "anydraft/draft.h"
#include "anydraft/retokenizer.h"
#include "bridge/slrs.h"

namespace anydraft {

// Drafter tokens behind the committed text: those of a node of the trie and one more.
struct Sequence {
  int32_t node = 0;
  int32_t token = -1;  // -1: the node's alone (the committed text itself)
  int32_t said = 0;    // leading bytes of its text that drafted target tokens have said already
  double mass = 1;
  int32_t first = -2;  // target token that the rest of its text begins with; -1: none, -2: not read
  int32_t stopped = -1;  // 1: by the rule; 0: not; -1: not known
};
using Sequences = std::vector<Sequence>;  // each stands for all that goes on like it

// The trie: node 0 is the committed text, the others are drafter tokens. A node's row says how its
// sequence goes on. All masses are the drafter's, by the distribution its rows were read with.
class SequenceTrie {
 public:
  // Keeps references.
  SequenceTrie(const Vocabulary& drafter, const Vocabulary& target, const VocabularyMap& map,
               const DraftTokenTrie& token_trie, const StopRule& rule);

  void clear();
  int32_t size() const { return static_cast<int32_t>(nodes_.size()); }
  // The node of a sequence; size() where it is to be added.
  int32_t find(const Sequence& sequence) const;
  void add(const Sequence& sequence);  // becomes node size()
  void set_row(int32_t node, const detail::Distribution& distribution);
  bool has_row(int32_t node) const { return nodes_[node].has_row; }
  int32_t depth(int32_t node) const { return nodes_[node].depth; }
  const std::string& text(int32_t node) const { return nodes_[node].text; }

  // Whether the rule stops it, the budget aside. May throw what a caller's encoder throws.
  bool stops(Sequence& sequence);
  // The sequences that go on from one whose node has a row.
  void append_continuations(const Sequence& sequence, Sequences& to) const;
  // Masses by the target token that the sequences begin with, as logits at `distribution_scale`
  // (that of detail::Distribution): psi, of the sequences that begin with any. Fills `first`, and
  // `stopped` where that costs nothing. May throw as stops() does.
  std::vector<float> psi(Sequences& sequences, int64_t width, float distribution_scale);
  // Those that begin with `token`, which is then said; their masses sum to 1.
  Sequences said(const Sequences& sequences, int32_t token) const;

 private:
  struct Node {
    int32_t parent = -1, token = -1, depth = 0;
    bool has_row = false;
    std::string text;
    std::vector<std::pair<int32_t, double>> row;  // drafter tokens that can be written, masses
  };
  bool ends(const Sequence& sequence) const;  // by a role, after which nothing is drafted
  int32_t pending(const Sequence& sequence) const;
  void read(Sequence& sequence);
  bool by_rule(const Sequence& sequence, const std::string& text) const;
  const std::string& rest(const Sequence& sequence);
  bool encode(const std::string& text);  // false: the target has no tokens for it

  const Vocabulary& drafter_;
  const Vocabulary& target_;
  const VocabularyMap& map_;
  const DraftTokenTrie& token_trie_;
  const StopRule rule_;
  std::vector<Node> nodes_{Node{}};
  Retokenizer reader_;
  std::string rest_;
};

}  // namespace anydraft
