#include "anydraft/retokenizer.h"

#include <algorithm>

#include "anydraft/error.h"
#include "vocab/mark.h"

namespace anydraft {

void Retokenizer::clear() {
  ids_.clear();
  ends_.clear();
  tail_.clear();
  stable_ = 0;
  score_ = 0;
}

void Retokenizer::feed(std::string_view bytes) {
  if (bytes.empty()) return;
  const size_t before = tail_.size();
  tail_.append(bytes);
  try {
    encode_tail();
  } catch (...) {
    tail_.resize(before);
    encode_tail();
    throw;
  }
}

void Retokenizer::feed_special(int32_t id) {
  ids_.push_back(id);
  ends_.push_back((ends_.empty() ? 0 : ends_.back()) + 1);
  stable_ = ids_.size();
  tail_.clear();
  score_ = 0;
}

void Retokenizer::encode_tail() {
  size_t start = stable_ > 0 ? ends_[stable_ - 1] : 0;
  ids_.resize(stable_);
  ends_.resize(stable_);
  if (tail_.empty()) return;
  detail::Mark mark;
  if (vocabulary_.native()) {
    vocabulary_.encode_with_mark(tail_, score_, ids_, &mark);
  } else {
    const TokenIds tail = vocabulary_.encode(tail_);
    ids_.insert(ids_.end(), tail.begin(), tail.end());
  }
  for (size_t i = stable_; i < ids_.size(); ++i) {
    start += vocabulary_.token_bytes(ids_[i]).size();
    ends_.push_back(start);
  }
  if (mark.place == nullptr) return;
  stable_ = mark.ids;
  score_ = mark.score;
  tail_.erase(0, mark.place - tail_.data());
}

}  // namespace anydraft
