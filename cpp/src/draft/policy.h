// How far a request drafts by itself: from its own past and a fixed cost table, so that a seeded
// request drafts the same on any run. Where its text cannot change by that, or no seed promises it,
// also from how many requests share the target's calls.
#pragma once

#include <cstdint>
#include <vector>

#include "anydraft/drafter.h"

namespace anydraft {

// Of a round, in target calls on one row a request. A drafted token costs the target's call a
// little: real models whose weights are read once for all of them measure 0.01 to 0.07.
constexpr double kTokenCost = 0.05;

// A draft goes on while the tokens it is expected to add are worth more than their cost, at the
// speed the request has. How likely a token is kept is known by grades: of the drafter's certainty
// of its row, or of how long a text agreed that is looked up. Each grade counts what was kept of
// it. What drafting may lose is bounded: kCredit of the tokens that may come, and kTrying of those
// that came, in calls of the target. A drafter that has lost this rests. It begins where the text
// is expected to gain more than it costs the drafter to read the prompt.
//
// Everything is known before a token is drawn from the row in question, so the distributions that
// are drawn from stand. Optimal stopping of a renewal process; lengths as Leviathan et al. 2023,
// theorem 3.8, where all grades are one.
constexpr double kCredit = 0.02, kTrying = 0.01;

class DraftPolicy {
 public:
  explicit DraftPolicy(const DrafterOptions& options);

  struct Step {
    bool draw;   // a token from this row
    bool go_on;  // then ask for another row
  };
  // A round begins behind `context` tokens, of at most `remaining`, in a call that serves
  // `together` requests; may be called again before it is settled. False: it drafts nothing.
  bool begin(int64_t context, int64_t remaining, int64_t together);
  // The next row of a chain, and its largest probability; or the next token that is looked up, and
  // how many before it agree.
  Step step(double sign);
  // Of the round's steps that drew, the first `kept` were kept.
  void judge(int64_t kept);
  // The round: tokens that came, rows of the target's call, calls of the drafter.
  void settle(int64_t tokens, int64_t rows, int64_t draft_calls);

  int64_t usual_length() const;  // of recent drafts

 private:
  struct Grade {
    double from;  // of the sign
    double kept, judged;
    double acceptance() const { return kept / judged; }
    void judge(bool was_kept);
  };
  double speed() const;
  double call_cost(int64_t rows) const;
  double target_cost(int64_t rows) const;
  double drafter_cost(double calls) const;
  double gain_beyond(double reach, int64_t rows) const;
  bool pays_to_read(int64_t remaining) const;

  const std::vector<double>& costs_;  // of the target's calls, by rows; may be empty
  const double draft_cost_;           // 0: drafts cost nothing
  const int64_t longest_;
  std::vector<Grade> grades_;
  Grade all_;
  double tokens_, cost_;  // of recent rounds, in target calls on one row
  int64_t together_ = 1;
  double balance_ = 0;  // tokens less costs of drafts, and what may be lost
  double length_ = 4;   // of recent drafts
  bool credited_ = false, drafting_ = false;
  int64_t untold_ = 0;  // tokens that came since the last draft
  int64_t unread_ = 0;  // of the prompt, where nothing was drafted yet
  double reach_ = 1;    // of the round: probability that all drawn so far are kept
  std::vector<size_t> drawn_;
};

}  // namespace anydraft
