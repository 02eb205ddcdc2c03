#include "draft/length.h"

namespace anydraft {
namespace {

constexpr double kForget = 0.95;  // a round
constexpr int kRest = 15;         // rounds without a draft, then one with: else nothing is learnt

}  // namespace

int64_t DraftLength::best() const {
  const double alpha = accepted_ / judged_;
  double tokens = 1, reached = 1, most = 1;  // plain decoding: a token for a call
  int64_t best = 0;
  for (int64_t length = 1; length <= longest_; ++length) {
    tokens += reached *= alpha;
    const double speed = tokens / round_cost(draft_cost_, static_cast<double>(length), length);
    if (speed > most) most = speed, best = length;
  }
  return best == 0 && rested_ >= kRest ? 1 : best;
}

void DraftLength::learn(int64_t accepted, int64_t drafted) {
  accepted_ = kForget * accepted_ + static_cast<double>(accepted);
  judged_ = kForget * judged_ + static_cast<double>(accepted + (accepted < drafted ? 1 : 0));
  rested_ = drafted > 0 ? 0 : rested_ + 1;
}

}  // namespace anydraft
