#include "bridge/context.h"

#include <algorithm>
#include <string>

namespace anydraft::detail {

// How many tokens before the first difference are offered to the encoder again, at most: the last
// tokens of a text depend on what follows it.
constexpr size_t kUnstable = 8;

DraftContext::DraftContext(const Vocabulary& target, const Vocabulary& drafter,
                           const VocabularyMap& map)
    : target_(target), drafter_(drafter), map_(map), ids_(drafter.prefix()) {
  ends_.assign(ids_.size(), 0);
}

void DraftContext::add_symbols(Symbols& to, int32_t draft_id) const {
  if (drafter_.is_special(draft_id)) {
    to.push_back(256 + draft_id);
  } else {
    for (unsigned char byte : drafter_.token_bytes(draft_id)) to.push_back(byte);
  }
}

DraftContext::Symbols DraftContext::symbols_of_target(int32_t token) const {
  Symbols symbols;
  std::string_view bytes = target_.token_bytes(token);
  if (target_.is_special(token)) {
    if (map_.to_draft[token] >= 0) return {256 + map_.to_draft[token]};
    bytes = target_.special_text(token);
  }
  for (unsigned char byte : bytes) symbols.push_back(byte);
  return symbols;
}

void DraftContext::sync(const TokenIds& committed) {
  Symbols text = text_;
  for (size_t i = seen_; i < committed.size(); ++i) {
    const TokenIds& bos = target_.role("bos");
    const bool own_bos = i == 0 && !drafter_.prefix().empty() &&
                         std::find(bos.begin(), bos.end(), committed[0]) != bos.end();
    if (own_bos) continue;  // the drafter's prefix says it already
    const Symbols added = symbols_of_target(committed[i]);
    text.insert(text.end(), added.begin(), added.end());
  }
  const size_t kept = agreeing(text);
  const size_t kept_end = kept > 0 ? ends_[kept - 1] : 0;
  TokenIds tail;
  size_t from = kept;
  if (kept_end < text.size()) {
    from = restart_before(kept);
    tail = encode(text, from > 0 ? ends_[from - 1] : 0);
  }
  size_t common = 0;  // what the encoder says again stays in the cache
  while (common < tail.size() && from + common < kept && ids_[from + common] == tail[common]) {
    ++common;
  }
  from += common;
  ids_.resize(from);
  ends_.resize(from);
  spoken_.resize(from > 0 ? ends_[from - 1] : 0);
  fed_ = std::min(fed_, from);
  for (size_t i = common; i < tail.size(); ++i) append(tail[i]);
  text_ = std::move(text);
  seen_ = committed.size();
}

void DraftContext::append(int32_t draft_id) {
  ids_.push_back(draft_id);
  add_symbols(spoken_, draft_id);
  ends_.push_back(spoken_.size());
}

// Leading ids whose symbols are a prefix of the text.
size_t DraftContext::agreeing(const Symbols& text) const {
  const size_t limit = std::min(text.size(), spoken_.size());
  const auto differ = std::mismatch(spoken_.begin(), spoken_.begin() + limit, text.begin());
  const size_t same = differ.first - spoken_.begin();
  return std::upper_bound(ends_.begin(), ends_.end(), same) - ends_.begin();
}

// The id to encode again from: the nearest one before `kept` that begins a word.
size_t DraftContext::restart_before(size_t kept) const {
  const size_t floor = std::max(drafter_.prefix().size(), kept - std::min(kept, kUnstable));
  const auto begins_word = [this](size_t id) {
    const int32_t first = spoken_[ends_[id - 1]];
    return first >= 256 || first == ' ' || first == '\n';
  };
  for (size_t id = kept; id > floor; --id) {
    const size_t begin = id - 1;
    if (begin == 0 || ends_[begin] == ends_[begin - 1] || begins_word(begin)) return begin;
  }
  return std::min(kept, floor);
}

TokenIds DraftContext::encode(const Symbols& text, size_t begin) const {
  TokenIds ids;
  std::string bytes;
  const auto flush = [&] {
    const TokenIds run = drafter_.encode(bytes);
    ids.insert(ids.end(), run.begin(), run.end());
    bytes.clear();
  };
  for (size_t i = begin; i < text.size(); ++i) {
    if (text[i] < 256) {
      bytes.push_back(static_cast<char>(text[i]));
    } else {
      flush();
      ids.push_back(text[i] - 256);
    }
  }
  flush();
  return ids;
}

}  // namespace anydraft::detail
