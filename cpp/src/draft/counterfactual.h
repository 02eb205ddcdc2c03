// What each bridge would have had kept of a request's text so far, had it drafted there.
//
// Token-wise verification keeps a token of the text with probability min(1, ratio), where ratio =
// draft_prob / target_prob of it; traversal keeps the first n with the smallest product of the
// first 1, 2, ... n ratios (block verification, Sun et al. 2024, seen from the text). So a drafter
// row on the text's path says of each bridge whether its draft would have passed there, whichever
// bridge drafted in fact; SLEM's would have where the drafter's likeliest tokens spell the token.
#pragma once

#include <deque>
#include <map>
#include <string>
#include <vector>

#include "draft/source.h"

namespace anydraft {

class CounterfactualAcceptance {
 public:
  // For drafts of up to `longest` tokens; the references must outlive it.
  CounterfactualAcceptance(const Pair& pair, const DraftRequest& request, int64_t longest);

  // A drafter's row, and what had been drafted of the round when it was given.
  struct Row {
    std::string behind;
    RowView logits;
  };
  // A round: the tokens that came with what the target gave them, and the drafter's rows.
  void add(const TokenIds& came, const std::vector<double>& target_probs,
           const std::vector<Row>& rows);

  // Target tokens that a draft of `length` (SLEM: drafter tokens) would have had kept, on average
  // over the recent text.
  double accepted(Bridge bridge, int64_t length) const;
  // Share of drafts whose first token would have been kept, over the whole text.
  double acceptance(Bridge bridge) const { return estimates_.at(bridge).acceptance(); }

 private:
  struct Step {
    double ratio, ends;  // see above; probability that the drafter's token ends behind it
  };
  // Of a token and of those that the same draft may have behind it; empty: not known.
  using Steps = std::vector<Step>;
  struct Reach {         // a draft on its way along the text
    size_t length = 0;   // tokens
    double weight = 1;   // probability that the drafter's tokens end where they did
    double product = 1;  // of the ratios
    double kept = 1;     // probability, given all that
  };
  struct Estimate {            // of a bridge
    std::deque<Steps> recent;  // by token of the text
    std::vector<double> mean;  // [longest + 1] by length, over the recent text
    double asked, first;       // tokens, and those kept
    void add(Steps steps);
    double acceptance() const { return first / asked; }
  };

  SamplingParams readable(const RowView& row) const;
  double shared_prob(const RowView& row, SamplingParams params, int32_t token) const;
  double spelt_prob(const detail::Distribution& distribution, DraftTokenTrie::Place at,
                    DraftTokenTrie::Place next, double within, int32_t token) const;
  Steps spelt_steps(const RowView& row, const SamplingParams& params, const TokenIds& came,
                    const std::vector<double>& target_probs, size_t next) const;
  Steps likely_steps(const std::string& text, size_t end, const TokenIds& came, size_t next,
                     const Row& row, const std::vector<Row>& rows);
  void average(Estimate& estimate) const;
  void follow(const Estimate& estimate, size_t at, Reach reach, std::vector<double>& kept) const;

  const Pair& pair_;
  SamplingParams sampling_;  // the drafter's
  std::map<Bridge, Estimate> estimates_;
  double said_ = 0, likely_ = 0;  // bytes of tokens, and of the drafter's likeliest ones there
};

}  // namespace anydraft
