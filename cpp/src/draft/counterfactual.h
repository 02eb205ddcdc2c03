// What each bridge would have had kept of a request's text so far, had it drafted there.
//
// A token of the text is kept with probability min(1, ratio), where ratio = draft_prob /
// target_prob of it. So a drafter row on the text's path says of each bridge whether its draft
// would have passed there, whichever bridge drafted in fact; SLEM's would have where the drafter's
// likeliest tokens spell the token.
#pragma once

#include <array>
#include <deque>
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

  // Tokens that a draft of `length` would have had kept, on average over the recent text.
  double accepted(Bridge bridge, int64_t length) const;
  // As often would a draft's first token have been kept, over the whole text.
  double acceptance(Bridge bridge) const;

 private:
  static constexpr int kBridges = 3;  // TLI, SLRS, SLEM
  using Ratios = std::array<double, kBridges>;
  struct Known {
    std::vector<double> mean;     // [longest + 1] by length, over the recent text
    double asked = 0, first = 0;  // tokens, and those kept
  };

  Ratios ratios_of(const std::string& text, size_t end, int32_t token, double target_prob,
                   const Row& row, const std::vector<Row>& rows) const;
  double shared_prob(const RowView& row, int32_t token) const;
  double spelt_prob(const RowView& row, int32_t token) const;
  int32_t likeliest(const RowView& row) const;
  double likely_spells(const std::string& text, size_t end, int32_t token, const Row& row,
                       const std::vector<Row>& rows) const;
  void average(int bridge);

  const Pair& pair_;
  SamplingParams sampling_;    // the drafter's
  std::deque<Ratios> recent_;  // by token of the text; not a number: not known
  std::array<Known, kBridges> known_;
};

}  // namespace anydraft
