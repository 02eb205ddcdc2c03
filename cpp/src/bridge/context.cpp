#include "bridge/context.h"

#include <algorithm>
#include <string>

#include "vocab/tables.h"

namespace anydraft::detail {
namespace {

// Where the first `count` tokens end.
size_t place(const std::vector<size_t>& ends, size_t count) {
  return count > 0 ? ends[count - 1] : 0;
}

}  // namespace

DraftContext::DraftContext(const Vocabulary& target, const Vocabulary& drafter,
                           const VocabularyMap& map)
    : target_(target),
      drafter_(drafter),
      map_(map),
      tokens_(drafter),
      ids_(drafter.prefix()),
      settled_ids_(ids_.size()) {
  ends_.assign(ids_.size(), 0);
  drawn_.assign(ids_.size(), 0);
  const Tables& t = drafter.tables();
  if (t.config.empty() || !t.config[0].byte_level) return;
  for (size_t byte = 0; byte < 256; ++byte) unspoken_[byte] = t.byte_ids[byte] == kNoId;
}

void DraftContext::add_text(Symbols& to, std::string_view bytes) const {
  for (unsigned char byte : bytes) {
    if (!unspoken_[byte]) to.push_back(byte);
  }
}

void DraftContext::add_symbols(Symbols& to, int32_t draft_id) const {
  if (drafter_.is_special(draft_id)) {
    to.push_back(256 + draft_id);
  } else {
    add_text(to, drafter_.token_bytes(draft_id));
  }
}

void DraftContext::add_target_symbols(Symbols& to, int32_t token) const {
  std::string_view bytes = target_.token_bytes(token);
  if (target_.is_special(token)) {
    if (map_.to_draft[token] >= 0) return to.push_back(256 + map_.to_draft[token]);
    bytes = target_.special_text(token);
  }
  add_text(to, bytes);
}

void DraftContext::sync(const TokenIds& committed) {
  const size_t before = text_.size();
  for (size_t i = seen_; i < committed.size(); ++i) {
    const TokenIds& bos = target_.role("bos");
    const bool own_bos = i == 0 && !drafter_.prefix().empty() &&
                         std::find(bos.begin(), bos.end(), committed[0]) != bos.end();
    if (!own_bos) add_target_symbols(text_, committed[i]);  // else the prefix says it already
  }
  const size_t own_end = place(tokens_.ends(), tokens_.ends().size());
  try {
    feed(told_);
  } catch (...) {
    text_.resize(before);
    if (place(tokens_.ends(), tokens_.ends().size()) != own_end) {  // a part of it was fed
      tokens_.clear();
      told_ = 0;
    }
    throw;
  }
  told_ = text_.size();
  seen_ = committed.size();
  const auto [kept, own] = keep();
  ids_.resize(kept);
  drawn_.resize(kept);
  ends_.resize(kept);
  spoken_.resize(place(ends_, kept));
  fed_ = std::min(fed_, kept);
  for (size_t i = own; i < tokens_.ids().size(); ++i) {
    append(tokens_.ids()[i]);
    drawn_.back() = 0;
  }
  said_ = spoken_.size() == text_.size() ? text_.size() : 0;  // an encoder may have dropped some
}

// How many ids stay, and how many of the text's own tokens end at the same place. Ids that the
// drafter drew may stay where the text's tokens are others, if both end together somewhere.
std::pair<size_t, size_t> DraftContext::keep() {
  const TokenIds& own = tokens_.ids();
  const std::vector<size_t>& own_ends = tokens_.ends();
  const size_t agreeing_ids = agreeing();
  size_t i = settled_ids_, j = settled_own_;
  while (i < agreeing_ids && j < own.size()) {
    size_t next_i = i + 1, next_j = j + 1;
    while (ends_[next_i - 1] != own_ends[next_j - 1]) {
      size_t& behind = ends_[next_i - 1] < own_ends[next_j - 1] ? next_i : next_j;
      if (++behind > (&behind == &next_i ? agreeing_ids : own.size())) return {i, j};
    }
    const bool same = next_i == i + 1 && next_j == j + 1 && ids_[i] == own[j];
    if (!same && std::count(drawn_.begin() + i, drawn_.begin() + next_i, 0) != 0) return {i, j};
    i = next_i, j = next_j;
    if (j <= tokens_.stable()) settled_ids_ = i, settled_own_ = j;
  }
  return {i, j};
}

void DraftContext::append(int32_t draft_id) {
  ids_.push_back(draft_id);
  drawn_.push_back(1);
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
