#include "draft/auto_source.h"

#include <algorithm>
#include <limits>

#include "draft/policy.h"

namespace anydraft {
namespace {

constexpr double kMargin = 1.02;
constexpr double kForget = 0.9;         // a round of one bridge: what it costs
constexpr int64_t kLongestWeighed = 8;  // tokens of a draft, where lengths choose themselves

}  // namespace

AutoSource::AutoSource(const Pair& pair, const DraftRequest& request, DraftStats& stats,
                       DraftPolicy* policy)
    : pair_(pair),
      request_(request),
      stats_(stats),
      policy_(policy),
      longest_(
          std::min<int64_t>(shape_for(pair.options, std::numeric_limits<int32_t>::max()).levels(),
                            policy ? kLongestWeighed : std::numeric_limits<int32_t>::max())),
      length_(longest_),
      acceptance_(pair, request, longest_) {
  const auto cache = std::make_shared<DrafterCache>();
  const auto add = [&](Bridge bridge) {
    candidates_.push_back(
        {bridge, std::make_unique<ModelSource>(pair, bridge, request, stats, policy, cache)});
  };
  // Order breaks ties: SLEM first for greedy requests, else SLRS, which drafts from the drafter's
  // whole vocabulary.
  if (request.sampling.greedy()) add(Bridge::kSlem);
  if (pair.token_trie->size() > 0) add(Bridge::kSlrs);
  if (pair.map->shared > 0) add(Bridge::kTli);
  if (!request.sampling.greedy()) add(Bridge::kSlem);
  report();
}

void AutoSource::start(const TokenIds& committed, int64_t remaining) {
  drawn_.clear();
  if (remaining > 0) choose(remaining);
  calls_before_ = stats_.draft_calls;
  committed_before_ = committed.size();
  now().source->start(committed, remaining);
}

void AutoSource::choose(int64_t remaining) {
  length_ = std::min({policy_ ? policy_->usual_length() : longest_, longest_, remaining});
  size_t best = now_;
  for (size_t i = 0; i < candidates_.size(); ++i) {
    const double bar = worth(candidates_[best]) * (best == now_ ? kMargin : 1);
    if (worth(candidates_[i]) > bar) best = i;
  }
  now_ = best;
}

void AutoSource::take(const RowsView& rows, int64_t first, RowBackend& backend) {
  std::optional<std::string> text = now().source->drafted_text();
  if (!text && drawn_.empty()) text = "";  // a tree's root
  now().source->take(rows, first, backend);
  if (!text) return;
  const RowView row = pair_.drafter_row(rows, first);
  if (backend.has_mass(row)) drawn_.push_back({std::move(*text), row});
}

void AutoSource::settle(const TokenIds& committed, const std::vector<int32_t>& path,
                        const RowsView* target) {
  now().source->settle(committed, path, target);
  if (target && !drawn_.empty()) learn(committed, path, *target);
}

void AutoSource::learn(const TokenIds& committed, const std::vector<int32_t>& path,
                       const RowsView& target) {
  now().calls = kForget * now().calls + static_cast<double>(stats_.draft_calls - calls_before_);
  now().planned = kForget * now().planned + static_cast<double>(std::max<int64_t>(length_, 1));
  const TokenIds came(committed.begin() + static_cast<int64_t>(committed_before_), committed.end());
  std::vector<double> target_probs;
  for (size_t i = 0; i < came.size(); ++i) {
    const int64_t node = i == 0 ? 0 : path[i - 1];
    const detail::Distribution distribution = make_distribution(target, node, request_.sampling);
    target_probs.push_back(came[i] < distribution.size ? detail::mass(distribution, came[i]) : 0);
  }
  acceptance_.add(came, target_probs, drawn_);
  ++stats_.bridges[now_].rounds;
  report();
}

double AutoSource::worth(const Candidate& candidate) const {
  // Until it has drafted, a bridge is taken to call the drafter as the one that drafts does.
  const Candidate& known = candidate.planned > 0 ? candidate : now();
  const double calls = known.asked_share() * static_cast<double>(length_);
  const double cost =
      1 + pair_.options.draft_cost * calls + kTokenCost * static_cast<double>(length_);
  return (1 + acceptance_.accepted(candidate.bridge, length_)) / cost;
}

void AutoSource::report() {
  stats_.bridges.resize(candidates_.size());
  for (size_t i = 0; i < candidates_.size(); ++i) {
    const Candidate& candidate = candidates_[i];
    BridgeStats& told = stats_.bridges[i];
    told.bridge = candidate.bridge;
    told.acceptance = acceptance_.acceptance(told.bridge);
    told.worth = worth(candidate);
  }
}

}  // namespace anydraft
