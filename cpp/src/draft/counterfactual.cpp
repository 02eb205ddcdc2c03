#include "draft/counterfactual.h"

#include <algorithm>

#include "anydraft/draft.h"
#include "anydraft/error.h"
#include "rows/draft_rows.h"
#include "sampling/normalise.h"

namespace anydraft {
namespace {

constexpr int64_t kRecent = 64;  // tokens
// Before anything is known: as after so many places at this acceptance, for every bridge. How much
// two vocabularies share says little: what they do not share is rarely said.
constexpr double kPriorPlaces = 8, kPriorAcceptance = 0.55;

enum { kTli, kSlrs, kSlem };

int index_of(Bridge bridge) {
  return bridge == Bridge::kTli ? kTli : bridge == Bridge::kSlrs ? kSlrs : kSlem;
}

// How many times as likely a token was in the draft as in the target.
double ratio_of(double drafted, double target_prob) {
  return drafted > 0 ? drafted / target_prob : 0;
}

RowsView view_of(const RowView& row, int64_t cols) { return {row.data, row.dtype, 1, cols, cols}; }

}  // namespace

CounterfactualAcceptance::CounterfactualAcceptance(const Pair& pair, const DraftRequest& request,
                                                   int32_t longest)
    : pair_(pair), sampling_(request.draft_sampling.value_or(request.sampling)) {
  for (Known& known : known_) {
    double power = 1;
    known.mean = {0};
    for (int32_t i = 0; i < longest; ++i) {
      known.mean.push_back(known.mean.back() + (power *= kPriorAcceptance));
    }
    known.asked = kPriorPlaces;
    known.first = kPriorPlaces * kPriorAcceptance;
  }
}

void CounterfactualAcceptance::add(const TokenIds& came, const std::vector<double>& target_probs,
                                   const std::vector<Row>& rows) {
  const size_t begin = text_.size(), first = tokens_.size();
  for (int32_t token : came) {
    tokens_.push_back(token);
    text_ += pair_.target->token_bytes(token);
    starts_.push_back(text_.size());
  }
  for (const Row& row : rows) {
    const size_t byte = begin + row.behind.size();
    if (byte >= text_.size() || text_.compare(begin, row.behind.size(), row.behind) != 0) continue;
    const auto start =
        std::lower_bound(starts_.begin() + static_cast<int64_t>(first), starts_.end(), byte);
    const int64_t token = *start == byte ? start - starts_.begin() : -1;
    const size_t next = token < 0 ? came.size() : static_cast<size_t>(token) - first;
    Place place = place_of(row.logits, token, came, target_probs, next);
    place.byte = byte;
    places_.push_back(std::move(place));
    if (token >= 0) count_first(places_.back());
  }
  const size_t recent = starts_[std::max<int64_t>(0, tokens_.size() - kRecent)];
  while (oldest_ < places_.size() && places_[oldest_].byte < recent) ++oldest_;
}

CounterfactualAcceptance::Place CounterfactualAcceptance::place_of(
    const RowView& row, int64_t token, const TokenIds& came,
    const std::vector<double>& target_probs, size_t next) const {
  Place place{0, token, {}, {}, {}, {}, -1};
  SamplingParams greedy;
  greedy.temperature = 0;
  const int64_t known = std::min<int64_t>(row.cols, pair_.drafter->size());
  const int32_t likeliest = make_distribution(view_of(row, known), 0, greedy).one_hot;
  place.likely = pair_.drafter->token_bytes(likeliest);
  place.likely_tokens = pair_.token_trie->of(likeliest);
  if (next >= came.size()) return place;
  place.tli = {{ratio_of(shared_prob(row, came[next]), target_probs[next]), 1}};
  place.slrs = spelt_steps(row, came, target_probs, next);
  return place;
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

// Of a token that begins what the drafter's tokens at `next` spell, among those of mass `within`.
double CounterfactualAcceptance::spelt_prob(const detail::Distribution& distribution,
                                            DraftTokenTrie::Place at, DraftTokenTrie::Place next,
                                            double within, int32_t token) const {
  const DraftTokenTrie& token_trie = *pair_.token_trie;
  const double mass = detail::mass_of(distribution, token_trie, next.begin, next.end);
  if (!(mass > 0)) return 0;
  if (!sampling_.greedy()) return mass / within;
  if (mass > within / 2) return 1;
  const std::vector<float> psi = token_trie.psi(distribution, at, pair_.target->size());
  return std::max_element(psi.begin(), psi.end()) - psi.begin() == token ? 1 : 0;
}

std::vector<CounterfactualAcceptance::Step> CounterfactualAcceptance::spelt_steps(
    const RowView& row, const TokenIds& came, const std::vector<double>& target_probs,
    size_t next) const {
  const DraftTokenTrie& token_trie = *pair_.token_trie;
  const int64_t known = std::min<int64_t>(row.cols, pair_.drafter->size());
  const detail::Distribution distribution =
      make_distribution(view_of(row, known), 0, sampling_.greedy() ? SamplingParams{} : sampling_);
  double within = 1;
  for (int32_t id : token_trie.unspelt()) {
    if (id < known) within -= detail::mass(distribution, id);
  }
  std::vector<Step> steps;
  DraftTokenTrie::Place at = token_trie.root();
  for (size_t i = next; i < came.size() && (steps.empty() || steps.back().ends < 1); ++i) {
    const DraftTokenTrie::Place behind = token_trie.next(at, came[i]);
    const double drafted = spelt_prob(distribution, at, behind, within, came[i]);
    steps.push_back({ratio_of(drafted, target_probs[i]), 1});
    if (drafted <= 0) break;
    at = behind;
    const int32_t end = at.begin + token_trie.ending(at);
    if (end == at.end) break;
    const double ends = detail::mass_of(distribution, token_trie, at.begin, end);
    within = detail::mass_of(distribution, token_trie, end, at.end);
    if (within > 0) steps.back().ends = ends / (ends + within);
  }
  return steps;
}

void CounterfactualAcceptance::count_first(const Place& place) {
  const std::string_view rest = std::string_view(text_).substr(place.byte);
  const size_t size = starts_[place.token + 1] - place.byte;
  const bool spelt = place.likely.size() >= size &&
                     rest.substr(0, place.likely.size()) == place.likely.substr(0, rest.size());
  const bool begun = !place.likely_tokens.empty() && place.likely_tokens[0] == tokens_[place.token];
  const double firsts[] = {place.tli[0].ratio, place.slrs.empty() ? 0 : place.slrs[0].ratio,
                           spelt || begun ? 1.0 : 0.0};
  for (int bridge : {kTli, kSlrs, kSlem}) {
    known_[bridge].first += std::min(firsts[bridge], 1.0);
    ++known_[bridge].asked;
  }
}

void CounterfactualAcceptance::judge() {
  for (int bridge : {kTli, kSlrs, kSlem}) {
    Known& known = known_[bridge];
    const size_t lengths = known.mean.size();
    Values sum(lengths, 0.0);
    double places = kPriorPlaces, power = 1;
    for (size_t n = 1; n < lengths; ++n) {
      sum[n] = sum[n - 1] + kPriorPlaces * (power *= kPriorAcceptance);
    }
    for (size_t i = oldest_; i < places_.size(); ++i) {
      if (places_[i].token < 0) continue;
      Values values(lengths, 0.0);
      if (bridge == kSlem) {
        values = as_text(places_[i]);
      } else {
        along(bridge, places_[i], Reach{}, values);
      }
      for (size_t n = 1; n < lengths; ++n) sum[n] += values[n];
      ++places;
    }
    for (size_t n = 1; n < lengths; ++n) known.mean[n] = sum[n] / places;
  }
}

const CounterfactualAcceptance::Place* CounterfactualAcceptance::find(size_t byte) const {
  const auto place =
      std::lower_bound(places_.begin() + static_cast<int64_t>(oldest_), places_.end(), byte,
                       [](const Place& at, size_t wanted) { return at.byte < wanted; });
  return place != places_.end() && place->byte == byte ? &*place : nullptr;
}

void CounterfactualAcceptance::keep(Reach& reach, double ratio) const {
  const bool together = traits_of(pair_.verifier()).has(kJoint);
  ++reach.length;
  reach.product *= ratio;
  reach.kept = together ? std::min(reach.kept, reach.product) : reach.kept * std::min(ratio, 1.0);
}

// Adds what a draft of target tokens that has come to `place` would have had kept from there on;
// the mean where the drafter's row is not known.
void CounterfactualAcceptance::along(int bridge, const Place& place, Reach reach,
                                     Values& values) const {
  const auto longest = static_cast<int64_t>(values.size()) - 1;
  size_t next = place.token;
  for (const Step& step : bridge == kTli ? place.tli : place.slrs) {
    if (reach.length == longest || step.ratio <= 0) return;
    keep(reach, step.ratio);
    ++next;
    for (int64_t n = reach.length; n <= longest; ++n) values[n] += reach.weight * reach.kept;
    Reach ended = reach;
    ended.weight *= step.ends;
    reach.weight -= ended.weight;
    if (ended.weight <= 0) continue;
    const Place* behind = find(starts_[next]);
    if (behind && behind->token >= 0) {
      along(bridge, *behind, ended, values);
    } else {
      for (int64_t n = ended.length + 1; n <= longest; ++n) {
        values[n] += ended.weight * ended.kept * known_[bridge].mean[n - ended.length];
      }
    }
  }
}

// What a draft of the drafter's likeliest tokens would have had kept from `place` on.
CounterfactualAcceptance::Values CounterfactualAcceptance::as_text(Place& place) const {
  const Values& mean = known_[kSlem].mean;
  const std::string_view came = std::string_view(text_).substr(place.byte);
  Values values{0};  // as long as the draft is known and agrees
  std::string draft;
  const Place *at = &place, *last = at;
  bool astray = false;
  while (at && !astray && values.size() < mean.size()) {
    draft += at->likely;
    const std::string_view told = came.substr(0, draft.size());
    astray = at->likely.empty() || draft.compare(0, told.size(), told) != 0;
    values.push_back(ended(place, told.size()));
    last = at;
    at = find(place.byte + draft.size());
  }
  const double agreed =
      place.agreed < 0 ? agreeing(place, draft, *last) : static_cast<double>(place.agreed);
  if (astray) values.back() = agreed;
  const bool others = agreed < values.back();  // the same bytes in other tokens
  const bool whole = values.size() == mean.size() && draft.size() <= came.size();
  if (astray || others || whole) place.agreed = static_cast<int64_t>(agreed);
  for (double& value : values) value = std::min(value, agreed);
  if (astray || others) values.resize(mean.size(), agreed);
  const size_t known = values.size() - 1;
  while (values.size() < mean.size()) {
    values.push_back(values[known] + mean[values.size() - known]);
  }
  return values;
}

// Tokens from `place` on that are also those of a draft which ends with the likeliest of `last`.
// All of it is read at once: the end of a word that went astray may change the tokens before it.
double CounterfactualAcceptance::agreeing(const Place& place, const std::string& draft,
                                          const Place& last) const {
  TokenIds tokens;
  try {
    tokens = pair_.target->encode(std::string_view(draft).substr(0, complete_utf8(draft)));
  } catch (const Error&) {
    return 0;  // bytes the target cannot spell
  }
  if (last.likely.empty()) {
    tokens.insert(tokens.end(), last.likely_tokens.begin(), last.likely_tokens.end());
  }
  const auto came = tokens_.begin() + place.token;
  const auto end = std::mismatch(tokens.begin(), tokens.end(), came, tokens_.end()).first;
  return static_cast<double>(end - tokens.begin());
}

// Tokens that end in the first `bytes` of the text from `place` on.
double CounterfactualAcceptance::ended(const Place& place, size_t bytes) const {
  const auto end = std::upper_bound(starts_.begin(), starts_.end(), place.byte + bytes);
  return static_cast<double>(end - starts_.begin() - place.token - 1);
}

double CounterfactualAcceptance::accepted(Bridge bridge, int64_t length) const {
  const Values& mean = known_[index_of(bridge)].mean;
  return mean[std::clamp<int64_t>(length, 0, static_cast<int64_t>(mean.size()) - 1)];
}

double CounterfactualAcceptance::acceptance(Bridge bridge) const {
  const Known& known = known_[index_of(bridge)];
  return known.first / known.asked;
}

}  // namespace anydraft
