// What each bridge would have had kept of a request's text so far, had it drafted there.
//
// Token-wise verification keeps a token of the text that came with probability min(1, ratio), where
// ratio = draft_prob / target_prob of it; traversal keeps the first n with the smallest product of
// the first 1, 2, ... n ratios (block verification, Sun et al. 2024, seen from the text). So every
// drafter row on the text's path says of each bridge how far a draft from there would have gone,
// whichever bridge drafted in fact; SLEM's would have gone as far as the drafter's likeliest
// tokens, read as the target's, agree with the text.
#pragma once

#include <array>
#include <string>
#include <vector>

#include "draft/source.h"

namespace anydraft {

class CounterfactualAcceptance {
 public:
  // For drafts of up to `longest` tokens; the references must outlive it.
  CounterfactualAcceptance(const Pair& pair, const DraftRequest& request, int32_t longest);

  // A drafter's row, and what had been drafted of the round when it was given.
  struct Row {
    std::string behind;
    RowView logits;
  };
  // A round: the tokens that came with what the target gave them, and the drafter's rows.
  void add(const TokenIds& came, const std::vector<double>& target_probs,
           const std::vector<Row>& rows);
  // Judges anew; may throw what an encoder throws, and be called again.
  void judge();

  // Tokens that a draft of `length` (SLEM: drafter tokens) would have had kept, on average over the
  // recent text, as last judged.
  double accepted(Bridge bridge, int64_t length) const;
  // As often would a draft's first token have been kept, over the whole text.
  double acceptance(Bridge bridge) const;

 private:
  struct Step {
    double ratio, ends;  // see above; probability that the drafter's token ends behind it
  };
  struct Place {              // where the drafter's row is known
    size_t byte;              // in text_
    int64_t token;            // as many stand before it; -1: it lies inside one
    std::vector<Step> tli;    // of the next token
    std::vector<Step> slrs;   // of those that one drafter token spells
    std::string_view likely;  // the drafter's likeliest token
    TokenIds likely_tokens;   // as the target's
    int64_t agreed = -1;      // of the likeliest draft so many tokens came; -1: not known yet
  };
  using Values = std::vector<double>;  // [longest + 1] by length
  struct Known {
    Values mean;                  // over the recent text
    double asked = 0, first = 0;  // drafts, and first tokens kept
  };
  struct Reach {         // a draft on its way along the text
    int64_t length = 0;  // tokens
    double weight = 1;   // probability that the drafter's tokens end where they did
    double product = 1;  // of the ratios
    double kept = 1;     // probability, given all that
  };

  Place place_of(const RowView& row, int64_t token, const TokenIds& came,
                 const std::vector<double>& target_probs, size_t next) const;
  std::vector<Step> spelt_steps(const RowView& row, const TokenIds& came,
                                const std::vector<double>& target_probs, size_t next) const;
  double shared_prob(const RowView& row, int32_t token) const;
  double spelt_prob(const detail::Distribution& distribution, DraftTokenTrie::Place at,
                    DraftTokenTrie::Place next, double within, int32_t token) const;
  void count_first(const Place& place);
  const Place* find(size_t byte) const;  // null: the drafter's row is not known
  void keep(Reach& reach, double ratio) const;
  void along(int bridge, const Place& place, Reach reach, Values& values) const;
  Values as_text(Place& place) const;
  double agreeing(const Place& place, const std::string& draft, const Place& last) const;
  double ended(const Place& place, size_t bytes) const;

  const Pair& pair_;
  SamplingParams sampling_;  // the drafter's
  std::string text_;         // of the tokens that came
  TokenIds tokens_;
  std::vector<size_t> starts_{0};  // [tokens + 1] in text_
  std::vector<Place> places_;      // ascending
  size_t oldest_ = 0;              // of the places that count
  std::array<Known, 3> known_;     // TLI, SLRS, SLEM
};

}  // namespace anydraft
