// Drafts in target tokens as the drafter's tokens spell them, each with the distribution it was
// drawn from. Timor et al. 2025, string-level rejection sampling.
#pragma once

#include "session/token_draft.h"

namespace anydraft {

// A node's children are drawn from psi itself, and only then which drafter token spelt them: first
// whether it ends there (then it is fed, and its own row gives the next distribution) or goes on
// (then the next distribution is psi given what is known of it). So the distribution a child is
// verified with is, to the bit, the one it was drawn from, however psi was rounded; and equal
// children are one node with one state of the drafter.
class SlrsDraft : public TokenDraft {
 public:
  SlrsDraft(const Pair& pair, const Request& request, Stats& stats,
            std::shared_ptr<DrafterCache> cache = std::make_shared<DrafterCache>());

 protected:
  Expansion draw(int32_t node, int32_t width, const RowsView& rows, int64_t row,
                 int32_t uniform) override;
  std::vector<float> distribution_over_target(const RowsView& rows, int64_t row) const override;
  const SamplingParams& distribution_sampling() const override { return of_psi_; }

  SamplingParams weighing_;  // of drafter tokens: as sampling_; greedy ones are weighed too
  SamplingParams of_psi_;    // its temperature alone: filters are in psi already

 private:
  DraftTokenTrie::Place place_of(int32_t node) const;
  int32_t ending_token(const detail::Distribution& distribution, DraftTokenTrie::Place at,
                       int32_t uniform);
};

}  // namespace anydraft
