#include "bridge/context.h"

#include <algorithm>
#include <string>

namespace anydraft::detail {

DraftContext::DraftContext(const Vocabulary& target, const Vocabulary& drafter,
                           const VocabularyMap& map)
    : target_(target), drafter_(drafter), map_(map), tokens_(drafter), ids_(drafter.prefix()) {
  ends_.assign(ids_.size(), 0);
}

void DraftContext::add_symbols(Symbols& to, int32_t draft_id) const {
  if (drafter_.is_special(draft_id)) {
    to.push_back(256 + draft_id);
  } else {
    for (unsigned char byte : drafter_.token_bytes(draft_id)) to.push_back(byte);
  }
}

void DraftContext::add_target_symbols(Symbols& to, int32_t token) const {
  std::string_view bytes = target_.token_bytes(token);
  if (target_.is_special(token)) {
    if (map_.to_draft[token] >= 0) return to.push_back(256 + map_.to_draft[token]);
    bytes = target_.special_text(token);
  }
  for (unsigned char byte : bytes) to.push_back(byte);
}

void DraftContext::sync(const TokenIds& committed) {
  const size_t before = text_.size();
  for (size_t i = seen_; i < committed.size(); ++i) {
    const TokenIds& bos = target_.role("bos");
    const bool own_bos = i == 0 && !drafter_.prefix().empty() &&
                         std::find(bos.begin(), bos.end(), committed[0]) != bos.end();
    if (!own_bos) add_target_symbols(text_, committed[i]);  // else the prefix says it already
  }
  try {
    feed(before);
  } catch (...) {
    text_.resize(before);
    tokens_.clear();
    feed(0);
    throw;
  }
  seen_ = committed.size();
  // The last place where kept tokens and the text's tokens end together.
  const std::vector<size_t>& ends = tokens_.ends();
  size_t kept = agreeing(), own = ends.size();
  const auto place = [](const std::vector<size_t>& of, size_t count) {
    return count > 0 ? of[count - 1] : 0;
  };
  while (place(ends_, kept) != place(ends, own)) {
    place(ends_, kept) > place(ends, own) ? --kept : --own;
  }
  ids_.resize(kept);
  ends_.resize(kept);
  spoken_.resize(place(ends_, kept));
  fed_ = std::min(fed_, kept);
  for (; own < tokens_.ids().size(); ++own) append(tokens_.ids()[own]);
  said_ = spoken_.size() == text_.size() ? text_.size() : 0;  // an encoder may have dropped some
}

void DraftContext::append(int32_t draft_id) {
  ids_.push_back(draft_id);
  add_symbols(spoken_, draft_id);
  ends_.push_back(spoken_.size());
}

// Leading ids whose symbols are a prefix of the text.
size_t DraftContext::agreeing() const {
  const size_t limit = std::min(text_.size(), spoken_.size());
  const auto differ =
      std::mismatch(spoken_.begin() + said_, spoken_.begin() + limit, text_.begin() + said_);
  const size_t same = differ.first - spoken_.begin();
  return std::upper_bound(ends_.begin(), ends_.end(), same) - ends_.begin();
}

// The symbols of the text from `begin` on, to its tokens.
void DraftContext::feed(size_t begin) {
  std::string bytes;
  for (size_t i = begin; i < text_.size(); ++i) {
    if (text_[i] < 256) {
      bytes.push_back(static_cast<char>(text_[i]));
    } else {
      tokens_.feed(bytes);
      bytes.clear();
      tokens_.feed_special(text_[i] - 256);
    }
  }
  tokens_.feed(bytes);
}

}  // namespace anydraft::detail
