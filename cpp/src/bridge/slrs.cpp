#include "bridge/slrs.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "anydraft/error.h"

namespace anydraft {
namespace {

TokenIds spell(const Vocabulary& draft, const Vocabulary& target, const VocabularyMap& map,
               int32_t id) {
  if (map.to_target[id] >= 0) return {map.to_target[id]};
  const std::string& bytes = draft.token_bytes(id);
  if (bytes.empty()) return {};
  try {
    TokenIds spelled = target.encode(bytes);
    return target.decode(spelled) == bytes ? spelled : TokenIds{};
  } catch (const Error&) {
    return {};  // a byte the target has no token for
  }
}

}  // namespace

Spellings::Spellings(const Vocabulary& draft, const Vocabulary& target, const VocabularyMap& map) {
  std::vector<TokenIds> spelled(draft.size());
  for (int32_t id = 0; id < draft.size(); ++id) {
    spelled[id] = spell(draft, target, map, id);
    if (!spelled[id].empty()) ids_.push_back(id);
  }
  std::stable_sort(ids_.begin(), ids_.end(),
                   [&](int32_t a, int32_t b) { return spelled[a] < spelled[b]; });
  starts_.push_back(0);
  for (int32_t id : ids_) {
    tokens_.insert(tokens_.end(), spelled[id].begin(), spelled[id].end());
    starts_.push_back(static_cast<int32_t>(tokens_.size()));
  }
  group_first_tokens();
}

void Spellings::group_first_tokens() {
  for (int32_t begin = 0; begin < size();) {
    const int32_t token = token_at(begin, 0), end = end_of_token(root(), begin);
    if (end - begin > 1) {
      shared_.push_back({token, begin, end});
    } else {
      lone_token_.push_back(token);
      lone_id_.push_back(ids_[begin]);
      largest_id_ = std::max(largest_id_, ids_[begin]);
    }
    begin = end;
  }
}

int32_t Spellings::token_at(int32_t index, int32_t depth) const {
  const int32_t at = starts_[index] + depth;
  return at < starts_[index + 1] ? tokens_[at] : -1;
}

// One past the last spelling whose next token is that of `from`.
int32_t Spellings::end_of_token(Place at, int32_t from) const {
  const int32_t token = token_at(from, at.depth);
  int32_t end = from + 1;
  while (end < at.end && token_at(end, at.depth) == token) ++end;
  return end;
}

int32_t Spellings::ending(Place at) const {
  int32_t end = at.begin;
  while (end < at.end && token_at(end, at.depth) < 0) ++end;
  return end - at.begin;
}

Spellings::Place Spellings::next(Place at, int32_t token) const {
  std::vector<int32_t>::size_type low = at.begin, count = at.end - at.begin;
  while (count > 0) {  // the first one whose next token is not below `token`
    const auto half = count / 2;
    if (token_at(static_cast<int32_t>(low + half), at.depth) < token) {
      low += half + 1;
      count -= half + 1;
    } else {
      count = half;
    }
  }
  const auto begin = static_cast<int32_t>(low);
  const bool found = begin < at.end && token_at(begin, at.depth) == token;
  return {begin, found ? end_of_token(at, begin) : begin, at.depth + 1};
}

TokenIds Spellings::of(int32_t drafter_id) const {
  const auto found = std::find(ids_.begin(), ids_.end(), drafter_id);
  if (found == ids_.end()) return {};
  const auto index = found - ids_.begin();
  return TokenIds(tokens_.begin() + starts_[index], tokens_.begin() + starts_[index + 1]);
}

std::vector<float> Spellings::psi(const detail::Law& law, Place at, int64_t width) const {
  std::vector<float> out(width, -INFINITY);
  const auto logit = [&](int32_t id) -> float {
    if (id >= law.size) return -INFINITY;
    const float x = detail::load(law.row, law.dtype, id);
    return x >= law.lower ? x : -INFINITY;
  };
  // One drafter token: its own logit. Several: the logarithm of their mass on the same scale.
  const auto put = [&](const Group& group) {
    if (group.token >= width) return;
    const double mass = detail::mass_of(law, *this, group.begin, group.end);
    if (!(mass > 0)) return;
    const double octaves = std::log2(mass / law.inverse_total) + law.exponent;
    out[group.token] = static_cast<float>(octaves / law.scale);
  };
  if (at.depth > 0) {
    for (int32_t begin = at.begin + ending(at); begin < at.end;) {
      const int32_t end = end_of_token(at, begin);
      put({token_at(begin, at.depth), begin, end});
      begin = end;
    }
    return out;
  }
  const size_t lone = lone_token_.size();
  if (law.dtype == DType::kFloat32 && largest_id_ < law.size &&
      (lone == 0 || lone_token_.back() < width)) {
    const auto* row = static_cast<const float*>(law.row);
    for (size_t i = 0; i < lone; ++i) {
      const float x = row[lone_id_[i]];
      out[lone_token_[i]] = x >= law.lower ? x : -INFINITY;
    }
  } else {
    for (size_t i = 0; i < lone; ++i) {
      if (lone_token_[i] < width) out[lone_token_[i]] = logit(lone_id_[i]);
    }
  }
  for (const Group& group : shared_) put(group);
  return out;
}

namespace detail {

double mass_of(const Law& law, const Spellings& spellings, int32_t begin, int32_t end) {
  double sum = 0;
  for (int32_t i = begin; i < end; ++i) {
    const int32_t id = spellings.drafter_id(i);
    if (id < law.size) sum += mass(law, id);
  }
  return sum;
}

}  // namespace detail
}  // namespace anydraft
