// Drafts token by token: a drafter of the target's own vocabulary, or token-level intersection.
#pragma once

#include "draft/bridge.h"

namespace anydraft {

class TokenBridge : public DraftBridge {
 public:
  using DraftBridge::DraftBridge;
  void start(const TokenIds&, int64_t) override { round_.draft.sampling = round_.sampling; }
  DrawTask task(int32_t node, int32_t width, const RowView& row, int32_t number) const override;
};

}  // namespace anydraft
