// Drafts as text: what the drafter wrote, in the target's tokens, each for certain.
// Timor et al. 2025, string-level exact match.
#pragma once

#include <string>
#include <string_view>

#include "draft/bridge.h"

namespace anydraft {

// A draft's text in the target's tokens, without an unfinished character; none where the target
// cannot spell it.
TokenIds read_by(const Vocabulary& target, std::string_view draft);

class StringBridge : public DraftBridge {
 public:
  using DraftBridge::DraftBridge;
  void start(const TokenIds&, int64_t remaining) override { remaining_ = remaining; }
  Expansion draw(int32_t node, int32_t width, const RowView& row, int32_t number) override;
  bool ends(int32_t token) const override { return round_.pair.drafter->is_special(token); }
  void finish() override;
  bool goes_by_text() const override { return true; }
  std::string text_to(int32_t node) const override;

 private:
  TokenIds target_tokens(int32_t leaf) const;
  void insert(const TokenIds& tokens);

  int64_t remaining_ = 0;
};

}  // namespace anydraft
