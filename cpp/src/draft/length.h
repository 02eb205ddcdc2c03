// How long a request's next draft is: chosen from its own past and the fixed cost table, so that a
// seeded request drafts the same on any run.
#pragma once

#include <cstdint>

namespace anydraft {

// Of a round, in target calls on one token. A drafted token costs the target's call a little: real
// models whose weights are read once for all of them measure 0.03 to 0.07.
constexpr double kTokenCost = 0.05;
inline double round_cost(double draft_cost, double draft_calls, int64_t drafted) {
  return 1 + draft_cost * draft_calls + kTokenCost * static_cast<double>(drafted);
}

// As if every drafted token were kept with the request's recent acceptance rate: the length of the
// most expected tokens per cost. Leviathan et al. 2023, theorem 3.8 with a measured cost of calls.
class DraftLength {
 public:
  DraftLength(double draft_cost, int32_t longest) : draft_cost_(draft_cost), longest_(longest) {}

  int64_t best() const;  // 0 where no draft pays, but now and then 1, to see whether one does now
  // A round; 0, 0: it drafted nothing.
  void learn(int64_t accepted, int64_t drafted);

 private:
  double draft_cost_;
  int32_t longest_;
  int rested_ = 0;
  double accepted_ = 6, judged_ = 10;  // with exponential forgetting; before anything is known
};

}  // namespace anydraft
