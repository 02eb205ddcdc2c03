// Drafts as text: what the drafter wrote, in the target's tokens, each for certain.
// Timor et al. 2025, string-level exact match.
#pragma once

#include <string>

#include "session/model_draft.h"

namespace anydraft {

class StringDraft : public ModelDraft {
 public:
  using ModelDraft::ModelDraft;
  void start(const TokenIds& committed, int64_t remaining) override;

 protected:
  Expansion draw(int32_t node, int32_t width, const RowsView& rows, int64_t row,
                 int32_t uniform) override;
  void finish() override;
  bool ends(int32_t token) const override { return pair_.drafter->is_special(token); }
  std::vector<int32_t> taken_path(const TokenIds& committed,
                                  const std::vector<int32_t>& path) const override;
  RowsView known(const RowsView& rows) const override;
  std::string text_to(int32_t node) const override { return text_of(path_to(node)); }

 private:
  std::vector<int32_t> path_to(int32_t node) const;
  std::string text_of(const std::vector<int32_t>& nodes) const;
  TokenIds target_tokens(int32_t leaf) const;
  void insert(const TokenIds& tokens);

  int64_t remaining_ = 0;
};

}  // namespace anydraft
