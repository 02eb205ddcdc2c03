// The bridge that chooses itself: TLI, SLRS or SLEM, round by round.
//
// A round's rows say how far each bridge would have come on the text that was committed
// (CounterfactualAcceptance). A bridge is worth
//   (1 + tokens kept of a draft) / (1 + draft_cost * drafter calls + kTokenCost * drafted tokens);
// the next round takes the best, or stays where nothing is better by kMargin. Only the request's
// own past counts, no clock, and never a target row of the round that is drafted.
#include <algorithm>
#include <limits>
#include <memory>
#include <vector>

#include "draft/counterfactual.h"
#include "draft/model_source.h"
#include "draft/policy.h"

namespace anydraft {
namespace {

constexpr double kMargin = 1.02;
constexpr double kForget = 0.9;         // a round of one bridge: what it costs
constexpr int64_t kLongestWeighed = 8;  // tokens of a draft, where lengths choose themselves

class AutoSource : public DraftSource {
 public:
  AutoSource(const Pair& pair, const DraftRequest& request, DraftStats& stats, DraftPolicy* policy);

  void start(const TokenIds& committed, int64_t remaining) override;
  bool wants_model() const override { return now().source->wants_model(); }
  Feed feed() const override { return now().source->feed(); }
  bool waits_for(const Feed& feed) const override { return now().source->waits_for(feed); }
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
  int64_t longest_, length_;  // of a draft: at most; of this round
  int64_t calls_before_ = 0;  // of the drafter, when the round began
  CounterfactualAcceptance acceptance_;
  std::vector<CounterfactualAcceptance::Row> drawn_;  // of this round
};

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
  const TokenIds came(committed.end() - static_cast<int64_t>(path.size()) - 1, committed.end());
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

}  // namespace

std::unique_ptr<DraftSource> make_auto_source(const Pair& pair, const DraftRequest& request,
                                              DraftStats& stats, DraftPolicy* policy) {
  return std::make_unique<AutoSource>(pair, request, stats, policy);
}

}  // namespace anydraft
