// String-level rejection sampling with the stop rule "one drafter token": the distribution of the
// target tokens that a drafter's token spells. Timor et al. 2025, algorithm 3; several tokens a
// round are ours.
//
// One rule for drafter tokens that spell nothing (specials without a counterpart, bytes the target
// has no token for): they are left out and the distribution is renormalised, for drawing and for
// verifying.
#pragma once

#include <cstdint>
#include <vector>

#include "anydraft/detail/distribution.h"
#include "anydraft/draft_row.h"
#include "anydraft/sampling.h"
#include "anydraft/vocabulary.h"

namespace anydraft {

// What each drafter token spells: the target token of the same bytes or role, else its bytes in the
// target's encoding, by itself and whatever stands before it. Sorted, so that the drafter tokens
// whose spellings begin alike lie side by side: a trie without nodes. Immutable.
class DraftTokenTrie {
 public:
  // Throws what the target's encoder throws, but for Error: such a token spells nothing.
  DraftTokenTrie(const Vocabulary& draft, const Vocabulary& target, const VocabularyMap& map);

  // The spellings [begin, end) in sorted order: those that begin with the same `depth` target
  // tokens. The ones that end there come first.
  struct Place {
    int32_t begin, end, depth;
  };
  Place root() const { return {0, size(), 0}; }
  Place next(Place at, int32_t token) const;  // empty where nothing goes on so
  int32_t ending(Place at) const;             // as many of them end here

  int32_t size() const { return static_cast<int32_t>(ids_.size()); }  // drafter tokens that spell
  int32_t drafter_id(int32_t index) const { return ids_[index]; }
  int32_t first(int32_t index) const { return tokens_[starts_[index]]; }  // target token
  const std::vector<int32_t>& starts() const { return starts_; }  // [size + 1] into tokens()
  const TokenIds& tokens() const { return tokens_; }              // all of them, one after another
  TokenIds of(int32_t drafter_id) const;                          // target tokens; empty: nothing
  int32_t first_of(int32_t drafter_id) const;                     // -1: none
  const TokenIds& unspelt() const { return unspelt_; }  // drafter tokens that spell nothing

  // Logits over `width` target ids, at the temperature of `distribution`, of the next token of a
  // spelling at `at` that goes on: psi where `at` is the root, psi(. | the tokens so far, goes on)
  // elsewhere; -inf without mass. `distribution` is the drafter's, and not certain. What is read
  // inside a drafter's token is tested against it.
  std::vector<float> psi(const detail::Distribution& distribution, Place at, int64_t width) const;

 private:
  void group_first_tokens();
  void psi_of_root(const detail::Distribution& distribution, std::vector<float>& out) const;
  int32_t token_at(int32_t index, int32_t depth) const;  // -1: ends before
  int32_t end_of_token(Place at, int32_t from) const;

  TokenIds ids_;                   // by spelling
  std::vector<int32_t> starts_;    // [ids + 1] into tokens_
  TokenIds tokens_;                // the spellings, one after another
  TokenIds lone_token_, lone_id_;  // first tokens that one drafter token alone spells
  TokenIds shared_;                // the other first tokens
  TokenIds index_of_;              // [drafter ids] in ids_, -1: none
  TokenIds unspelt_;
  std::vector<GroupedId> grouped_;  // the drafter tokens that begin with these, by index in shared_
};

namespace detail {

// Mass of the drafter tokens at [begin, end) in the order of their spellings.
double mass_of(const Distribution& distribution, const DraftTokenTrie& token_trie, int32_t begin,
               int32_t end);

}  // namespace detail
}  // namespace anydraft
