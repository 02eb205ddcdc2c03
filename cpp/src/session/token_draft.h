// Drafts token by token: a drafter of the target's own vocabulary, or token-level intersection.
#pragma once

#include <string>

#include "session/model_draft.h"

namespace anydraft {

class TokenDraft : public ModelDraft {
 public:
  using ModelDraft::ModelDraft;
  void start(const TokenIds& committed, int64_t remaining) override;

 protected:
  Expansion draw(int32_t node, int32_t width, const RowsView& rows, int64_t row,
                 int32_t uniform) override;
  void keep_distribution(const Expansion& expansion) override;
  void finish() override { proposal_.tree = tree_; }
  bool ends(int32_t token) const override { return request_.stops(token); }
  std::vector<int32_t> taken_path(const TokenIds&,
                                  const std::vector<int32_t>& path) const override {
    return path;
  }
  RowsView known(const RowsView& rows) const override;
  std::string text_to(int32_t node) const override;
  // Logits over the target's ids, -inf where the drafter has none.
  virtual std::vector<float> distribution_over_target(const RowsView& rows, int64_t row) const;
  // What those become a distribution by.
  virtual const SamplingParams& distribution_sampling() const { return sampling_; }

 private:
  bool across() const { return pair_.across(); }
};

}  // namespace anydraft
