// The bridge that chooses itself: TLI, SLRS or SLEM, round by round.
//
// A round's rows say how far each bridge would have come on the text that was committed
// (CounterfactualAcceptance). A bridge is worth
//   (1 + tokens kept of a draft) / (1 + draft_cost * drafter calls + kTokenCost * drafted tokens);
// the next round takes the best, or stays where nothing is better by kMargin. Only the request's
// own past counts, no clock, and never a target row of the round that is drafted.
#pragma once

#include <memory>
#include <vector>

#include "draft/counterfactual.h"
#include "draft/model_source.h"

namespace anydraft {

class AutoSource : public DraftSource {
 public:
  AutoSource(const Pair& pair, const DraftRequest& request, DraftStats& stats, DraftPolicy* policy);

  void start(const TokenIds& committed, int64_t remaining) override;
  bool wants_model() const override { return now().source->wants_model(); }
  Feed feed() const override { return now().source->feed(); }
  void take(const RowsView& rows, int64_t first, RowBackend& backend) override;
  void settle(const TokenIds& committed, const std::vector<int32_t>& path,
              const RowsView* target) override;
  void failed() override { now().source->failed(); }
  const Draft& draft() const override { return now().source->draft(); }

 private:
  struct Candidate {
    Bridge bridge;
    std::unique_ptr<ModelSource> source;
    double calls = 0, planned = 0;  // of the drafter in its rounds; lengths of these
    double asked_share() const { return planned > 0 ? calls / planned : 1; }
  };
  Candidate& now() { return candidates_[now_]; }
  const Candidate& now() const { return candidates_[now_]; }
  void choose(int64_t remaining);
  void learn(const TokenIds& committed, const std::vector<int32_t>& path, const RowsView& target);
  double worth(const Candidate& candidate) const;
  void report();

  const Pair& pair_;
  const DraftRequest& request_;
  DraftStats& stats_;
  DraftPolicy* policy_;
  std::vector<Candidate> candidates_;
  size_t now_ = 0;
  int64_t longest_, length_;     // of a draft: at most; of this round
  int64_t calls_before_ = 0;     // of the drafter, when the round began
  size_t committed_before_ = 0;  // tokens, likewise
  CounterfactualAcceptance acceptance_;
  std::vector<CounterfactualAcceptance::Row> drawn_;  // of this round
};

}  // namespace anydraft
