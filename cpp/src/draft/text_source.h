// Drafts without a model: prompt lookup (Saxena 2023, "Prompt lookup decoding"), text that the
// caller expects, or for any other bridge the root alone: plain decoding.
#pragma once

#include "draft/source.h"

namespace anydraft {

class TextSource : public DraftSource {
 public:
  TextSource(const Pair& pair, DraftPolicy* policy)
      : pair_(pair), policy_(policy), target_width_(pair.target->size()) {}
  void start(const TokenIds& committed, int64_t remaining) override;
  void settle(const TokenIds&, const std::vector<int32_t>& path, const RowsView* target) override {
    if (policy_) policy_->judge(static_cast<int64_t>(path.size()));
    if (target) target_width_ = std::max<int64_t>(target->cols, pair_.target->size());
  }
  const Draft& draft() const override { return draft_; }

 private:
  Draft draft_;
  const Pair& pair_;
  DraftPolicy* policy_;
  int64_t target_width_;
};

}  // namespace anydraft
