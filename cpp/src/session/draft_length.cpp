#include "session/draft_length.h"

namespace anydraft {
namespace {

constexpr double kForget = 0.95;  // a round

}  // namespace

int64_t DraftLength::best() const {
  const double alpha = accepted_ / judged_;
  double tokens = 1, reached = 1, most = 0;
  int64_t best = 1;
  for (int64_t length = 1; length <= longest_; ++length) {
    tokens += reached *= alpha;
    const double speed = tokens / round_cost(draft_cost_, static_cast<double>(length), length);
    if (speed > most) most = speed, best = length;
  }
  return best;
}

void DraftLength::learn(int64_t accepted, int64_t drafted) {
  accepted_ = kForget * accepted_ + static_cast<double>(accepted);
  judged_ = kForget * judged_ + static_cast<double>(accepted + (accepted < drafted ? 1 : 0));
}

}  // namespace anydraft
