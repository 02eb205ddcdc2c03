#include "draft/counterfactual.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "anydraft/draft.h"
#include "rows/draft_rows.h"
#include "sampling/normalise.h"

namespace anydraft {
namespace {

constexpr size_t kRecent = 64;  // tokens
// Before anything is known: as after so many tokens at this acceptance, for every bridge. How much
// two vocabularies share says little: what they do not share is rarely said.
constexpr double kPriorTokens = 8, kPriorAcceptance = 0.55;
constexpr double kUnknown = std::numeric_limits<double>::quiet_NaN();

enum { kTli, kSlrs, kSlem };

int index_of(Bridge bridge) {
  return bridge == Bridge::kTli ? kTli : bridge == Bridge::kSlrs ? kSlrs : kSlem;
}

RowsView view_of(const RowView& row, int64_t cols) { return {row.data, row.dtype, 1, cols, cols}; }

// The row given behind the first `end` bytes; null: there was none.
const CounterfactualAcceptance::Row* row_at(const std::vector<CounterfactualAcceptance::Row>& rows,
                                            const std::string& text, size_t end) {
  for (const CounterfactualAcceptance::Row& row : rows) {
    if (row.behind.size() == end && text.compare(0, end, row.behind) == 0) return &row;
  }
  return nullptr;
}

}  // namespace

CounterfactualAcceptance::CounterfactualAcceptance(const Pair& pair, const DraftRequest& request,
                                                   int64_t longest)
    : pair_(pair), sampling_(request.draft_sampling.value_or(request.sampling)) {
  for (int bridge = 0; bridge < kBridges; ++bridge) {
    known_[bridge] = {std::vector<double>(longest + 1), kPriorTokens,
                      kPriorTokens * kPriorAcceptance};
    average(bridge);
  }
}

void CounterfactualAcceptance::add(const TokenIds& came, const std::vector<double>& target_probs,
                                   const std::vector<Row>& rows) {
  std::string text;
  std::vector<size_t> starts{0};
  for (int32_t token : came) starts.push_back((text += pair_.target->token_bytes(token)).size());
  for (size_t i = 0; i < came.size(); ++i) {
    const Row* row = row_at(rows, text, starts[i]);
    recent_.push_back({kUnknown, kUnknown, kUnknown});
    if (row) recent_.back() = ratios_of(text, starts[i + 1], came[i], target_probs[i], *row, rows);
    for (int bridge = 0; row && bridge < kBridges; ++bridge) {
      if (std::isnan(recent_.back()[bridge])) continue;
      known_[bridge].first += std::min(recent_.back()[bridge], 1.0);
      ++known_[bridge].asked;
    }
    if (recent_.size() > kRecent) recent_.pop_front();
  }
  for (int bridge = 0; bridge < kBridges; ++bridge) average(bridge);
}

// Of a token that ends at byte `end` of the round's text, before which the drafter gave `row`.
CounterfactualAcceptance::Ratios CounterfactualAcceptance::ratios_of(
    const std::string& text, size_t end, int32_t token, double target_prob, const Row& row,
    const std::vector<Row>& rows) const {
  const double shared = shared_prob(row.logits, token), spelt = spelt_prob(row.logits, token);
  return {shared > 0 ? shared / target_prob : 0, spelt > 0 ? spelt / target_prob : 0,
          likely_spells(text, end, token, row, rows)};
}

// Of a token, as TLI draws it.
double CounterfactualAcceptance::shared_prob(const RowView& row, int32_t token) const {
  DraftRow shared;
  shared.logits = row;
  shared.projection = &pair_.projection(false, pair_.target->size(), row.cols);
  prepare(shared, sampling_);
  detail::Distribution distribution = detail::unread_row(shared);
  if (token >= distribution.size ||
      !detail::normalise(distribution, sampling_, row.name, nullptr, nullptr))
    return 0;
  return detail::mass(distribution, token);
}

// Of a token, as SLRS draws it behind a whole token of the drafter's.
double CounterfactualAcceptance::spelt_prob(const RowView& row, int32_t token) const {
  const DraftTokenTrie& trie = *pair_.token_trie;
  const int64_t known = std::min<int64_t>(row.cols, pair_.drafter->size());
  const bool greedy = sampling_.greedy();
  const detail::Distribution distribution =
      make_distribution(view_of(row, known), 0, greedy ? SamplingParams{} : sampling_);
  double within = 1;
  for (int32_t id : trie.unspelt()) {
    if (id < known) within -= detail::mass(distribution, id);
  }
  const DraftTokenTrie::Place place = trie.next(trie.root(), token);
  const double mass = detail::mass_of(distribution, trie, place.begin, place.end);
  if (!(mass > 0)) return 0;
  if (!greedy) return mass / within;
  if (mass > within / 2) return 1;
  const std::vector<float> psi = trie.psi(distribution, trie.root(), pair_.target->size());
  return std::max_element(psi.begin(), psi.end()) - psi.begin() == token ? 1 : 0;
}

int32_t CounterfactualAcceptance::likeliest(const RowView& row) const {
  SamplingParams greedy;
  greedy.temperature = 0;
  const int64_t known = std::min<int64_t>(row.cols, pair_.drafter->size());
  return make_distribution(view_of(row, known), 0, greedy).one_hot;
}

// 1 where the drafter's likeliest tokens spell the token, 0 where they do not, unknown where the
// row behind the first of them is.
double CounterfactualAcceptance::likely_spells(const std::string& text, size_t end, int32_t token,
                                               const Row& row, const std::vector<Row>& rows) const {
  int32_t likely = likeliest(row.logits);
  if (pair_.token_trie->first_of(likely) == token) return 1;
  std::string draft = row.behind;
  for (const Row* at = &row; at; at = row_at(rows, text, draft.size())) {
    if (at != &row) likely = likeliest(at->logits);
    const std::string_view bytes = pair_.drafter->token_bytes(likely);
    draft += bytes;
    const size_t told = std::min(draft.size(), text.size());
    if (bytes.empty() || draft.compare(0, told, text, 0, told) != 0) return 0;
    if (draft.size() >= end) return 1;
  }
  return kUnknown;
}

// Block verification (Sun et al. 2024) keeps the first n with the smallest product of the first 1,
// 2, ... n ratios. What is not known is kept as often as all are.
void CounterfactualAcceptance::average(int bridge) {
  Known& known = known_[bridge];
  const bool joint = traits_of(pair_.verifier()).has(kJoint);
  const double usual = known.first / known.asked;
  std::vector<double>& mean = known.mean;
  std::fill(mean.begin(), mean.end(), 0.0);
  for (size_t first = 0; first <= recent_.size(); ++first) {  // the last one is the prior's
    const double weight = first < recent_.size() ? 1 : kPriorTokens;
    double kept = 1, product = 1, tokens = 0;
    for (size_t n = 1; n < mean.size(); ++n) {
      const size_t at = first + n - 1;
      double ratio = at < recent_.size() ? recent_[at][bridge] : usual;
      if (std::isnan(ratio)) ratio = usual;
      product *= ratio;
      kept = joint ? std::min(kept, product) : kept * std::min(ratio, 1.0);
      mean[n] += weight * (tokens += kept);
    }
  }
  for (double& tokens : mean) tokens /= kPriorTokens + static_cast<double>(recent_.size());
}

double CounterfactualAcceptance::accepted(Bridge bridge, int64_t length) const {
  const std::vector<double>& mean = known_[index_of(bridge)].mean;
  return mean[std::clamp<int64_t>(length, 0, static_cast<int64_t>(mean.size()) - 1)];
}

double CounterfactualAcceptance::acceptance(Bridge bridge) const {
  const Known& known = known_[index_of(bridge)];
  return known.first / known.asked;
}

}  // namespace anydraft
