// The bridge that chooses itself: TLI, SLRS or SLEM, round by round.
//
// After a round both models' rows at its first position are known, and with them what each bridge
// would have had accepted there: the overlap of its law with the target's (SLEM: the target's mass
// of its token). These acceptance rates are averaged with exponential forgetting. A bridge is worth
//   expected tokens of a round / (1 + kDraftCost * drafter calls),
// times what its own rounds came to against that expectation; the next round takes the best, or
// stays where nothing is better by kMargin. Only the request's own past counts, no clock, and
// never the row that the round's first token will be verified with.
#pragma once

#include <memory>
#include <vector>

#include "session/model_draft.h"

namespace anydraft {

class AutoDraft : public Drafting {
 public:
  AutoDraft(const Pair& pair, const Request& request, Stats& stats);

  void start(const TokenIds& committed, int64_t room) override;
  bool wants_model() const override { return now().drafting->wants_model(); }
  Feed feed() const override { return now().drafting->feed(); }
  void take(const RowsView& rows, int64_t first) override;
  void learn(const RowsView& target, int64_t first, int64_t accepted) override;
  void settle(const TokenIds& committed, const std::vector<int32_t>& path) override {
    now().drafting->settle(committed, path);
  }
  void failed() override { now().drafting->failed(); }
  void set_target_width(int64_t width) override;
  const Proposal& proposal() const override { return now().drafting->proposal(); }

 private:
  struct Candidate {
    Pair pair;
    std::unique_ptr<ModelDraft> drafting;
    double accepted, weight;                  // at first positions, of all rounds
    double emitted, expected, calls, rounds;  // of its own
    double acceptance() const { return accepted / weight; }
  };
  Candidate& now() { return *candidates_[now_]; }
  const Candidate& now() const { return *candidates_[now_]; }
  double expected_tokens(const Candidate& candidate) const;
  double worth(const Candidate& candidate) const;
  void report();

  const Request& request_;
  Stats& stats_;
  std::vector<std::unique_ptr<Candidate>> candidates_;
  size_t now_ = 0;
  int64_t length_ = 0;            // of a round's draft, at most
  int64_t calls_before_ = 0;      // of the drafter, when the round began
  std::vector<float> first_row_;  // the drafter's, of this round; empty: not drafted yet
};

}  // namespace anydraft
