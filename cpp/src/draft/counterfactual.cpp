#include "draft/counterfactual.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "anydraft/draft.h"
#include "draft/bridge.h"
#include "rows/draft_rows.h"
#include "sampling/normalise.h"
#include "sampling/row_sums.h"

namespace anydraft {
namespace {

constexpr size_t kRecent = 64;  // tokens
// Before anything is known: as after so many tokens at this acceptance, for every bridge. How much
// two vocabularies share says little: what they do not share is rarely said.
constexpr double kPriorTokens = 8, kPriorAcceptance = 0.55;
constexpr double kSeldom = 0.01;  // ways along the text that are rarer are not followed

// How many times as likely a token was in the draft as in the target.
double ratio_of(double drafted, double target_prob) {
  return drafted > 0 ? drafted / target_prob : 0;
}

// The row given behind the first `end` bytes; null: there was none.
const CounterfactualAcceptance::Row* row_at(const std::vector<CounterfactualAcceptance::Row>& rows,
                                            const std::string& text, size_t end) {
  for (const CounterfactualAcceptance::Row& row : rows) {
    if (row.behind.size() == end && text.compare(0, end, row.behind) == 0) return &row;
  }
  return nullptr;
}

int32_t likeliest(const RowView& row) {
  SamplingParams greedy;
  greedy.temperature = 0;
  return detail::distribution_of(row, greedy).one_hot;
}

}  // namespace

CounterfactualAcceptance::CounterfactualAcceptance(const Pair& pair, const DraftRequest& request,
                                                   int64_t longest)
    : pair_(pair), sampling_(request.draft_sampling.value_or(request.sampling)) {
  for (Bridge bridge : {Bridge::kTli, Bridge::kSlrs, Bridge::kSlem}) {
    Estimate& estimate = estimates_[bridge] = {
        {}, std::vector<double>(longest + 1), kPriorTokens, kPriorTokens * kPriorAcceptance};
    average(estimate);
  }
}

void CounterfactualAcceptance::add(const TokenIds& came, const std::vector<double>& target_probs,
                                   const std::vector<Row>& rows) {
  std::string text;
  std::vector<size_t> starts{0};
  for (int32_t token : came) starts.push_back((text += pair_.target->token_bytes(token)).size());
  for (size_t i = 0; i < came.size(); ++i) {
    Steps shared, spelt, likely;
    if (const Row* row = row_at(rows, text, starts[i])) {
      const SamplingParams params = readable(row->logits);
      shared = {{ratio_of(shared_prob(row->logits, params, came[i]), target_probs[i]), 1}};
      spelt = spelt_steps(row->logits, params, came, target_probs, i);
      likely = likely_steps(text, starts[i + 1], came, i, *row, rows);
    }
    estimates_[Bridge::kTli].add(std::move(shared));
    estimates_[Bridge::kSlrs].add(std::move(spelt));
    estimates_[Bridge::kSlem].add(std::move(likely));
  }
  for (auto& [bridge, estimate] : estimates_) average(estimate);
}

void CounterfactualAcceptance::Estimate::add(Steps steps) {
  if (!steps.empty()) {
    first += std::min(steps[0].ratio, 1.0);
    ++asked;
  }
  recent.push_back(std::move(steps));
  if (recent.size() > kRecent) recent.pop_front();
}

// An estimate is made of any row that a greedy bridge takes, however large its logits are.
SamplingParams CounterfactualAcceptance::readable(const RowView& row) const {
  detail::RowSums sums(detail::unread_row(row), row.name);
  sums.read_maxima(nullptr);
  SamplingParams params = sampling_.greedy() ? SamplingParams{} : sampling_;
  params.temperature = detail::resolving(sums.largest(), params.temperature);
  return params;
}

// Of a token, as TLI draws it.
double CounterfactualAcceptance::shared_prob(const RowView& row, SamplingParams params,
                                             int32_t token) const {
  if (sampling_.greedy()) params = sampling_;
  DraftRow shared;
  shared.logits = row;
  shared.projection = &pair_.projection(false, row.cols);
  prepare(shared, params);
  detail::Distribution distribution = detail::unread_row(shared);
  if (token >= distribution.size ||
      !detail::normalise(distribution, params, row.name, nullptr, nullptr))
    return 0;
  return detail::mass(distribution, token);
}

// Of a token that begins what the drafter's tokens at `next` spell, among those of mass `within`.
double CounterfactualAcceptance::spelt_prob(const detail::Distribution& distribution,
                                            DraftTokenTrie::Place at, DraftTokenTrie::Place next,
                                            double within, int32_t token) const {
  const DraftTokenTrie& trie = *pair_.token_trie;
  const double mass = detail::mass_of(distribution, trie, next.begin, next.end);
  if (!(mass > 0)) return 0;
  if (!sampling_.greedy()) return mass / within;
  if (mass > within / 2) return 1;
  const std::vector<float> psi = trie.psi(distribution, at, pair_.target->size());
  return std::max_element(psi.begin(), psi.end()) - psi.begin() == token ? 1 : 0;
}

CounterfactualAcceptance::Steps CounterfactualAcceptance::spelt_steps(
    const RowView& row, const SamplingParams& params, const TokenIds& came,
    const std::vector<double>& target_probs, size_t next) const {
  const DraftTokenTrie& trie = *pair_.token_trie;
  const detail::Distribution distribution = detail::distribution_of(row, params);
  double within = 1;
  for (int32_t id : trie.unspelt()) {
    if (id < row.cols) within -= detail::mass(distribution, id);
  }
  Steps steps;
  DraftTokenTrie::Place at = trie.root();
  for (size_t i = next; i < came.size() && (steps.empty() || steps.back().ends < 1); ++i) {
    const DraftTokenTrie::Place behind = trie.next(at, came[i]);
    const double drafted = spelt_prob(distribution, at, behind, within, came[i]);
    steps.push_back({ratio_of(drafted, target_probs[i]), 1});
    at = behind;
    const int32_t end = at.begin + trie.ending(at);
    if (drafted <= 0 || end == at.end) break;
    const double ends = detail::mass_of(distribution, trie, at.begin, end);
    within = detail::mass_of(distribution, trie, end, at.end);
    if (within > 0) steps.back().ends = ends / (ends + within);
  }
  return steps;
}

// Certain where the drafter's likeliest tokens, read as the target's, are those that came or are
// not; not known where they end before the first one does.
CounterfactualAcceptance::Steps CounterfactualAcceptance::likely_steps(
    const std::string& text, size_t end, const TokenIds& came, size_t next, const Row& row,
    const std::vector<Row>& rows) {
  int32_t likely = likeliest(row.logits);
  said_ += static_cast<double>(end - row.behind.size());
  likely_ += static_cast<double>(pair_.drafter->token_bytes(likely).size());
  const bool special = row.behind.size() == end;  // the token has no bytes
  if (special) return {{pair_.token_trie->first_of(likely) == came[next] ? 1.0 : 0.0, 1}};
  std::string draft;
  bool agrees = true;
  const size_t begin = row.behind.size();
  for (const Row* at = &row; at && agrees; at = row_at(rows, text, begin + draft.size())) {
    if (at != &row) likely = likeliest(at->logits);
    const std::string_view bytes = pair_.drafter->token_bytes(likely);
    draft += bytes;
    const std::string_view told = std::string_view(text).substr(begin, draft.size());
    agrees = !bytes.empty() && draft.compare(0, told.size(), told) == 0;
  }
  if (agrees && begin + draft.size() < end) return {};
  Steps steps;
  // All of a draft is read at once: the end of a word that went astray may change what is before.
  for (int32_t token : read_by(*pair_.target, draft)) {
    if (next == came.size() || (!steps.empty() && steps.back().ratio == 0)) break;
    steps.push_back({token == came[next++] ? 1.0 : 0.0, 0});
  }
  if (steps.empty()) return {{0, 1}};
  steps.back().ends = 1;
  return steps;
}

// Drafts count that would have begun where the drafter's row is known, and the prior's.
void CounterfactualAcceptance::average(Estimate& estimate) const {
  std::vector<double>& mean = estimate.mean;
  double drafts = kPriorTokens, power = kPriorTokens;
  mean[0] = 0;
  for (size_t n = 1; n < mean.size(); ++n) mean[n] = power *= kPriorAcceptance;
  for (size_t first = 0; first < estimate.recent.size(); ++first) {
    if (estimate.recent[first].empty()) continue;
    follow(estimate, first, {}, mean);
    ++drafts;
  }
  for (double& tokens : mean) tokens /= drafts;
  std::partial_sum(mean.begin(), mean.end(), mean.begin());
}

// Adds, by its number, how likely each token is kept of a draft that has come to token `at`. What
// is not known is kept as often as all are.
void CounterfactualAcceptance::follow(const Estimate& estimate, size_t at, Reach reach,
                                      std::vector<double>& kept) const {
  const bool joint = traits_of(pair_.verifier()).has(kJoint);
  const Steps usual{{estimate.acceptance(), 1}};
  while (reach.length + 1 < kept.size() && reach.weight > kSeldom) {
    const bool unknown = at >= estimate.recent.size() || estimate.recent[at].empty();
    const Steps& steps = unknown ? usual : estimate.recent[at];
    for (const Step& step : steps) {
      if (++reach.length == kept.size() || step.ratio <= 0) return;
      reach.product *= step.ratio;
      reach.kept =
          joint ? std::min(reach.kept, reach.product) : reach.kept * std::min(step.ratio, 1.0);
      kept[reach.length] += reach.weight * reach.kept;
      ++at;
      Reach ended = reach;
      ended.weight *= step.ends;
      if (&step != &steps.back()) {
        follow(estimate, at, ended, kept);
        reach.weight -= ended.weight;
      } else {
        reach = ended;
      }
    }
  }
}

double CounterfactualAcceptance::accepted(Bridge bridge, int64_t length) const {
  const std::vector<double>& mean = estimates_.at(bridge).mean;
  if (bridge == Bridge::kSlem && said_ > 0) {
    length = std::lround(static_cast<double>(length) * likely_ / said_);
  }
  return mean[std::clamp<int64_t>(length, 0, static_cast<int64_t>(mean.size()) - 1)];
}

}  // namespace anydraft
