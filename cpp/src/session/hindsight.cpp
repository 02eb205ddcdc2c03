#include "session/hindsight.h"

#include <algorithm>

#include "bridge/tli.h"

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

RowsView view_of(const std::vector<float>& row) {
  const auto width = static_cast<int64_t>(row.size());
  return {row.data(), DType::kFloat32, 1, width, width, 0};
}

// Of a token that came: the probability that it was drafted and kept.
double kept(const std::vector<float>& law, const SamplingParams& params, int32_t token,
            double target_prob) {
  if (token >= static_cast<int64_t>(law.size()) || !detail::has_mass(law)) return 0;
  const double drafted = detail::mass(make_law(view_of(law), 0, params), token);
  return drafted >= target_prob ? 1 : drafted / target_prob;
}

}  // namespace

Hindsight::Hindsight(const Pair& pair, const Request& request, int32_t longest)
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

void Hindsight::add(const TokenIds& came, const std::vector<double>& target_probs,
                    const std::vector<Row>& rows, int64_t width) {
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
    Place place = place_of(view_of(row.logits), token, came, target_probs, next, width);
    place.byte = byte;
    places_.push_back(std::move(place));
    if (token >= 0) count_first(places_.back());
  }
  const size_t recent = starts_[std::max<int64_t>(0, tokens_.size() - kRecent)];
  while (oldest_ < places_.size() && places_[oldest_].byte < recent) ++oldest_;
  for (int bridge : {kTli, kSlrs, kSlem}) evaluate(bridge);
}

Hindsight::Place Hindsight::place_of(const RowsView& row, int64_t token, const TokenIds& came,
                                     const std::vector<double>& target_probs, size_t next,
                                     int64_t width) const {
  Place place{0, token, {}, {}, {}, {}};
  RowsView known = row;
  known.cols = std::min<int64_t>(row.cols, pair_.drafter->size());
  SamplingParams greedy;
  greedy.temperature = 0;
  const int32_t likeliest = make_law(known, 0, greedy).one_hot;
  place.likely = pair_.drafter->token_bytes(likeliest);
  place.likely_tokens = pair_.spellings->of(likeliest);
  if (next >= came.size()) return place;
  const std::vector<float> shared = detail::project(known, 0, *pair_.map, width, sampling_);
  place.tli = {{kept(shared, sampling_, came[next], target_probs[next]), 1}};
  place.slrs = spelt_steps(known, came, target_probs, next, width);
  return place;
}

std::vector<Hindsight::Step> Hindsight::spelt_steps(const RowsView& row, const TokenIds& came,
                                                    const std::vector<double>& target_probs,
                                                    size_t next, int64_t width) const {
  const Spellings& spellings = *pair_.spellings;
  SamplingParams weighing = sampling_, of_psi;
  if (sampling_.greedy()) weighing = {};
  of_psi.temperature = sampling_.temperature;
  const detail::Law law = make_law(row, 0, weighing);
  std::vector<Step> steps;
  Spellings::Place at = spellings.root();
  for (size_t i = next; i < came.size() && (steps.empty() || steps.back().ends < 1); ++i) {
    steps.push_back({kept(spellings.psi(law, at, width), of_psi, came[i], target_probs[i]), 1});
    if (steps.back().kept <= 0) break;
    at = spellings.next(at, came[i]);
    const int32_t end = at.begin + spellings.ending(at);
    if (end == at.end) break;
    const double ends = detail::mass_of(law, spellings, at.begin, end);
    const double goes_on = detail::mass_of(law, spellings, end, at.end);
    if (goes_on > 0) steps.back().ends = ends / (ends + goes_on);
  }
  return steps;
}

void Hindsight::count_first(const Place& place) {
  const std::string_view rest = std::string_view(text_).substr(place.byte);
  const size_t size = starts_[place.token + 1] - place.byte;
  const bool spelt = place.likely.size() >= size &&
                     rest.substr(0, place.likely.size()) == place.likely.substr(0, rest.size());
  const bool begun = !place.likely_tokens.empty() && place.likely_tokens[0] == tokens_[place.token];
  const double firsts[] = {place.tli[0].kept, place.slrs.empty() ? 0 : place.slrs[0].kept,
                           spelt || begun ? 1.0 : 0.0};
  for (int bridge : {kTli, kSlrs, kSlem}) {
    known_[bridge].first += firsts[bridge];
    ++known_[bridge].asked;
  }
}

void Hindsight::evaluate(int bridge) {
  Known& known = known_[bridge];
  const auto lengths = static_cast<int64_t>(known.mean.size());
  known.at.assign(places_.size() - oldest_, Values(lengths, 0.0));
  Values sum(lengths, 0.0);
  double places = kPriorPlaces, power = 1;
  for (int64_t n = 1; n < lengths; ++n) {
    sum[n] = sum[n - 1] + kPriorPlaces * (power *= kPriorAcceptance);
  }
  for (size_t i = places_.size(); i-- > oldest_;) {
    Values& values = known.at[i - oldest_];
    for (int64_t n = 1; n < lengths; ++n) values[n] = value(bridge, places_[i], n);
    if (places_[i].token < 0) continue;
    for (int64_t n = 1; n < lengths; ++n) sum[n] += values[n];
    ++places;
  }
  for (int64_t n = 1; n < lengths; ++n) known.mean[n] = sum[n] / places;
}

double Hindsight::value(int bridge, const Place& place, int64_t length) const {
  if (bridge == kSlem) return as_text(place, length);
  return along(bridge, place, bridge == kTli ? place.tli : place.slrs, length);
}

// A draft of target tokens, each with its law.
double Hindsight::along(int bridge, const Place& place, const std::vector<Step>& steps,
                        int64_t length) const {
  double sum = 0, reached = 1;
  for (size_t i = 0; i < steps.size() && length > 0; ++i) {
    sum += reached *= steps[i].kept;
    --length;
    if (reached <= 0) break;
    const size_t next = starts_[place.token + 1 + static_cast<int64_t>(i)];
    sum += reached * steps[i].ends * from(bridge, next, length);
    reached *= 1 - steps[i].ends;
  }
  return sum;
}

// A draft of the drafter's likeliest tokens: it counts where the text's tokens end.
double Hindsight::as_text(const Place& place, int64_t length) const {
  const size_t size = std::min(place.likely.size(), text_.size() - place.byte);
  if (size > 0 && text_.compare(place.byte, size, place.likely, 0, size) == 0) {
    const auto above = [this](size_t byte) {
      return std::upper_bound(starts_.begin(), starts_.end(), byte);
    };
    const auto tokens = static_cast<double>(above(place.byte + size) - above(place.byte));
    return tokens + from(kSlem, place.byte + size, length - 1);
  }
  if (place.token < 0) return 0;
  const auto text = tokens_.begin() + place.token;
  const auto end =
      std::mismatch(place.likely_tokens.begin(), place.likely_tokens.end(), text, tokens_.end())
          .first;
  return static_cast<double>(end - place.likely_tokens.begin());
}

// What a draft from here on would have had kept; where the drafter's row is not known, the mean.
double Hindsight::from(int bridge, size_t byte, int64_t length) const {
  if (length <= 0) return 0;
  const auto place =
      std::lower_bound(places_.begin() + static_cast<int64_t>(oldest_), places_.end(), byte,
                       [](const Place& at, size_t wanted) { return at.byte < wanted; });
  const bool there =
      place != places_.end() && place->byte == byte && (bridge == kSlem || place->token >= 0);
  const Known& known = known_[bridge];
  if (!there) return known.mean[length];
  return known.at[place - places_.begin() - static_cast<int64_t>(oldest_)][length];
}

double Hindsight::accepted(Bridge bridge, int64_t length) const {
  const Values& mean = known_[index_of(bridge)].mean;
  return mean[std::clamp<int64_t>(length, 0, static_cast<int64_t>(mean.size()) - 1)];
}

double Hindsight::acceptance(Bridge bridge) const {
  const Known& known = known_[index_of(bridge)];
  return known.first / known.asked;
}

}  // namespace anydraft
