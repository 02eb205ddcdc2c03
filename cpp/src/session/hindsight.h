// What each bridge would have had kept of a request's text so far, had it drafted there.
//
// Given the text that came, a token of it would have been proposed and kept with probability
// min(law, target) / target. So every drafter row on the text's path says of each bridge how far a
// draft from there would have gone, whichever bridge drafted in fact; SLEM's would have gone as far
// as the drafter's likeliest tokens spell the text.
#pragma once

#include <array>
#include <string>
#include <vector>

#include "session/proposal.h"

namespace anydraft {

class Hindsight {
 public:
  // For drafts of up to `longest` tokens; the references must outlive it.
  Hindsight(const Pair& pair, const Request& request, int32_t longest);

  // A drafter's row, and what had been drafted of the round when it was given.
  struct Row {
    std::string behind;
    std::vector<float> logits;
  };
  // A round: the tokens that came with what the target gave them, the drafter's rows, and the
  // columns of the target's.
  void add(const TokenIds& came, const std::vector<double>& target_probs,
           const std::vector<Row>& rows, int64_t width);

  // Tokens that a draft of `length` (SLEM: drafter tokens) would have had kept, on average over the
  // recent text.
  double accepted(Bridge bridge, int64_t length) const;
  // As often would a draft's first token have been kept, over the whole text.
  double acceptance(Bridge bridge) const;

 private:
  struct Step {
    double kept, ends;  // probabilities: of a token; that the drafter's token ends behind it
  };
  struct Place {              // where the drafter's row is known
    size_t byte;              // in text_
    int64_t token;            // as many stand before it; -1: it lies inside one
    std::vector<Step> tli;    // of the next token
    std::vector<Step> slrs;   // of those that one drafter token spells
    std::string_view likely;  // the drafter's likeliest token
    TokenIds likely_tokens;   // as the target's
  };
  using Values = std::vector<double>;  // [longest + 1] by length
  struct Known {
    Values mean;                  // over the recent text
    std::vector<Values> at;       // [places - oldest_]
    double asked = 0, first = 0;  // drafts, and first tokens kept
  };

  Place place_of(const RowsView& row, int64_t token, const TokenIds& came,
                 const std::vector<double>& target_probs, size_t next, int64_t width) const;
  std::vector<Step> spelt_steps(const RowsView& row, const TokenIds& came,
                                const std::vector<double>& target_probs, size_t next,
                                int64_t width) const;
  void count_first(const Place& place);
  void evaluate(int bridge);
  double value(int bridge, const Place& place, int64_t length) const;
  double along(int bridge, const Place& place, const std::vector<Step>& steps,
               int64_t length) const;
  double as_text(const Place& place, int64_t length) const;
  double from(int bridge, size_t byte, int64_t length) const;

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
