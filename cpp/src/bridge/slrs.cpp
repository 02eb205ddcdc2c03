#include "bridge/slrs.h"

#include <algorithm>
#include <cmath>

#include "anydraft/error.h"
#include "rows/draft_rows.h"

namespace anydraft {
namespace {

TokenIds spell(const Vocabulary& draft, const Vocabulary& target, const VocabularyMap& map,
               int32_t id) {
  if (map.to_target[id] >= 0) return {map.to_target[id]};
  const std::string_view bytes = draft.token_bytes(id);
  if (bytes.empty()) return {};
  try {
    TokenIds spelled = target.encode(bytes);
    return target.decode(spelled) == bytes ? spelled : TokenIds{};
  } catch (const Error&) {
    return {};  // a byte the target has no token for
  }
}

}  // namespace

DraftTokenTrie::DraftTokenTrie(const Vocabulary& draft, const Vocabulary& target,
                               const VocabularyMap& map) {
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
  index_of_.assign(draft.size(), -1);
  for (int32_t i = 0; i < size(); ++i) index_of_[ids_[i]] = i;
  for (int32_t id = 0; id < static_cast<int32_t>(index_of_.size()); ++id) {
    if (index_of_[id] < 0) unspelt_.push_back(id);
  }
  group_first_tokens();
}

void DraftTokenTrie::group_first_tokens() {
  for (int32_t begin = 0; begin < size();) {
    const int32_t end = end_of_token(root(), begin);
    if (end - begin > 1) {
      for (int32_t i = begin; i < end; ++i) {
        grouped_.push_back({ids_[i], static_cast<int32_t>(shared_.size())});
      }
      shared_.push_back(first(begin));
    } else {
      lone_token_.push_back(first(begin));
      lone_id_.push_back(ids_[begin]);
    }
    begin = end;
  }
  std::sort(grouped_.begin(), grouped_.end(), [](GroupedId a, GroupedId b) { return a.id < b.id; });
}

int32_t DraftTokenTrie::token_at(int32_t index, int32_t depth) const {
  const int32_t at = starts_[index] + depth;
  return at < starts_[index + 1] ? tokens_[at] : -1;
}

// One past the last spelling whose next token is that of `from`.
int32_t DraftTokenTrie::end_of_token(Place at, int32_t from) const {
  const int32_t token = token_at(from, at.depth);
  int32_t end = from + 1;
  while (end < at.end && token_at(end, at.depth) == token) ++end;
  return end;
}

int32_t DraftTokenTrie::ending(Place at) const {
  int32_t end = at.begin;
  while (end < at.end && token_at(end, at.depth) < 0) ++end;
  return end - at.begin;
}

DraftTokenTrie::Place DraftTokenTrie::next(Place at, int32_t token) const {
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

TokenIds DraftTokenTrie::of(int32_t drafter_id) const {
  const int32_t index = index_of_[drafter_id];
  if (index < 0) return {};
  return TokenIds(tokens_.begin() + starts_[index], tokens_.begin() + starts_[index + 1]);
}

int32_t DraftTokenTrie::first_of(int32_t drafter_id) const {
  const int32_t index = index_of_[drafter_id];
  return index < 0 ? -1 : first(index);
}

namespace {

float filtered_logit(const detail::Distribution& distribution, int32_t id) {
  if (id >= distribution.size) return -INFINITY;
  const float x = detail::load(distribution.row, distribution.dtype, id);
  return x >= distribution.lower ? x : -INFINITY;
}

}  // namespace

// Where a drafter token alone spells a token, its own logit stands; the masses of the others are
// added up by the token they begin with.
void DraftTokenTrie::psi_of_root(const detail::Distribution& distribution,
                                 std::vector<float>& out) const {
  const GroupedId* first = grouped_.data();
  thread_local detail::Fractions masses;
  detail::keep_masses(distribution, masses);
  const double* sums =
      detail::group_masses(masses, distribution.size, first, first + grouped_.size(),
                           static_cast<int64_t>(shared_.size()));
  const auto width = static_cast<int64_t>(out.size());
  for (size_t i = 0; i < shared_.size(); ++i) {
    if (shared_[i] < width) out[shared_[i]] = detail::logit_of(distribution, sums[i]);
  }
  const bool all_there = distribution.dtype == DType::kFloat32 &&
                         distribution.size >= static_cast<int64_t>(index_of_.size()) &&
                         (lone_token_.empty() || lone_token_.back() < width);
  const auto* row = static_cast<const float*>(distribution.row);
  for (size_t i = 0; i < lone_token_.size(); ++i) {
    if (all_there) {
      const float x = row[lone_id_[i]];
      out[lone_token_[i]] = x >= distribution.lower ? x : -INFINITY;
    } else if (lone_token_[i] < width) {
      out[lone_token_[i]] = filtered_logit(distribution, lone_id_[i]);
    }
  }
}

std::vector<float> DraftTokenTrie::psi(const detail::Distribution& distribution, Place at,
                                       int64_t width) const {
  std::vector<float> out(width, -INFINITY);
  if (at.depth == 0) {
    psi_of_root(distribution, out);
    return out;
  }
  for (int32_t begin = at.begin + ending(at); begin < at.end;) {
    const int32_t token = token_at(begin, at.depth), end = end_of_token(at, begin);
    if (token < width)
      out[token] = detail::logit_of(distribution, detail::mass_of(distribution, *this, begin, end));
    begin = end;
  }
  return out;
}

namespace detail {

double mass_of(const Distribution& distribution, const DraftTokenTrie& token_trie, int32_t begin,
               int32_t end) {
  double sum = 0;
  for (int32_t i = begin; i < end; ++i) {
    const int32_t id = token_trie.drafter_id(i);
    if (id < distribution.size) sum += mass(distribution, id);
  }
  return sum;
}

}  // namespace detail
}  // namespace anydraft
