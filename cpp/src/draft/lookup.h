// Prompt lookup: drafts without a model. Saxena 2023, "Prompt lookup decoding".
#pragma once

#include "draft/source.h"

namespace anydraft {

class LookupSource : public DraftSource {
 public:
  explicit LookupSource(const Pair& pair) : pair_(pair), target_width_(pair.target->size()) {}
  void start(const TokenIds& committed, int64_t remaining) override;
  const Draft& draft() const override { return draft_; }
  void set_target_width(int64_t width) override {
    target_width_ = std::max<int64_t>(width, pair_.target->size());
  }

 private:
  const Pair& pair_;
  int64_t target_width_;
  Draft draft_;
};

namespace detail {
// At most `length` tokens: what followed the place whose preceding tokens agree longest with the
// end of the text (2 to 16 tokens; the latest of several such places).
TokenIds look_up(const TokenIds& text, size_t length);
}  // namespace detail

}  // namespace anydraft
