#include "session/auto_draft.h"

#include <algorithm>
#include <limits>

#include "session/slrs_draft.h"
#include "session/string_draft.h"

namespace anydraft {
namespace {

constexpr double kDraftCost = 0.15;  // of a drafter call, in target calls
constexpr double kForget = 0.9;      // a round
constexpr double kMargin = 1.02;
// Before anything is known: as after two rounds at one half.
constexpr double kPriorRounds = 2, kPriorAcceptance = 0.5;

}  // namespace

AutoDraft::AutoDraft(const Pair& pair, const Request& request, Stats& stats)
    : request_(request),
      stats_(stats),
      length_(shape_for(pair.options, std::numeric_limits<int32_t>::max()).levels()) {
  const auto cache = std::make_shared<DrafterCache>();
  const auto add = [&](Bridge bridge, auto make) {
    auto candidate = std::make_unique<Candidate>();
    candidate->pair = pair;
    candidate->pair.options.bridge = bridge;
    candidate->drafting = make(candidate->pair);
    candidate->accepted = kPriorAcceptance * kPriorRounds;
    candidate->weight = kPriorRounds;
    candidate->emitted = candidate->expected = 2 * kPriorRounds;
    candidate->rounds = kPriorRounds;
    candidate->calls = kPriorRounds * static_cast<double>(length_);
    candidates_.push_back(std::move(candidate));
  };
  if (pair.map->shared > 0) {
    add(Bridge::kTli,
        [&](const Pair& own) { return std::make_unique<TokenDraft>(own, request, stats, cache); });
  }
  if (pair.spellings->size() > 0) {
    add(Bridge::kSlrs,
        [&](const Pair& own) { return std::make_unique<SlrsDraft>(own, request, stats, cache); });
  }
  add(Bridge::kSlem,
      [&](const Pair& own) { return std::make_unique<StringDraft>(own, request, stats, cache); });
  report();
}

void AutoDraft::start(const TokenIds& committed, int64_t room) {
  size_t best = now_;
  for (size_t i = 0; i < candidates_.size(); ++i) {
    const double bar = worth(*candidates_[best]) * (best == now_ ? kMargin : 1);
    if (worth(*candidates_[i]) > bar) best = i;
  }
  now_ = best;
  first_row_.clear();
  calls_before_ = stats_.draft_calls;
  now().drafting->start(committed, room);
}

void AutoDraft::take(const RowsView& rows, int64_t first) {
  now().drafting->take(rows, first);
  if (!first_row_.empty()) return;
  for (int64_t i = 0; i < rows.cols; ++i) {
    first_row_.push_back(detail::load(rows.row(first), rows.dtype, i));
  }
}

void AutoDraft::learn(const RowsView& target, int64_t first, int64_t accepted) {
  if (first_row_.empty()) return;
  now().emitted = kForget * now().emitted + static_cast<double>(accepted + 1);
  now().expected = kForget * now().expected + expected_tokens(now());
  now().calls = kForget * now().calls + static_cast<double>(stats_.draft_calls - calls_before_);
  now().rounds = kForget * now().rounds + 1;
  const auto width = static_cast<int64_t>(first_row_.size());
  const RowsView row{first_row_.data(), DType::kFloat32, 1, width, width, 0};
  const detail::Law law = make_law(target, first, request_.sampling);
  for (const auto& candidate : candidates_) {
    candidate->accepted = kForget * candidate->accepted + candidate->drafting->acceptance(row, law);
    candidate->weight = kForget * candidate->weight + 1;
  }
  ++stats_.bridges[now_].rounds;
  report();
}

void AutoDraft::set_target_width(int64_t width) {
  for (const auto& candidate : candidates_) candidate->drafting->set_target_width(width);
}

// As if every drafted token were accepted with the same probability: Leviathan et al. 2023.
double AutoDraft::expected_tokens(const Candidate& candidate) const {
  double sum = 1, power = 1;
  for (int64_t i = 0; i < length_; ++i) sum += power *= candidate.acceptance();
  return sum;
}

double AutoDraft::worth(const Candidate& candidate) const {
  const double cost = 1 + kDraftCost * candidate.calls / candidate.rounds;
  return expected_tokens(candidate) / cost * candidate.emitted / candidate.expected;
}

void AutoDraft::report() {
  stats_.bridges.resize(candidates_.size());
  for (size_t i = 0; i < candidates_.size(); ++i) {
    const Candidate& candidate = *candidates_[i];
    BridgeStats& told = stats_.bridges[i];
    told.bridge = candidate.pair.options.bridge;
    told.acceptance = candidate.acceptance();
    told.worth = worth(candidate);
  }
}

}  // namespace anydraft
