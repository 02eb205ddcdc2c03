// Drafts in target tokens as the drafter's tokens spell them, each with the distribution it was
// drawn from. Timor et al. 2025, string-level rejection sampling.
#pragma once

#include "draft/bridge.h"

namespace anydraft {

// How psi is made and read: the drafter's tokens are weighed by its own parameters (greedy ones are
// weighed too), and what comes of it has their temperature alone, since filters are in it already.
struct PsiSampling {
  explicit PsiSampling(const SamplingParams& drafter) {
    if (drafter.greedy()) return;
    weighing = drafter;
    of_psi.temperature = drafter.temperature;
  }
  SamplingParams weighing, of_psi;
};

// A node's children are drawn from psi itself, and only then which drafter token spelt them: first
// whether it ends there (then it is fed, and its own row gives the next distribution) or goes on
// (then the next distribution is psi given what is known of it). So the distribution a child is
// verified with is, to the bit, the one it was drawn from, however psi was rounded; and equal
// children are one node with one state of the drafter.
class SpellingBridge : public DraftBridge {
 public:
  explicit SpellingBridge(DraftRound& round) : DraftBridge(round), psi_(round.sampling) {}
  void start(const TokenIds&, int64_t) override { round_.draft.sampling = psi_.of_psi; }
  DrawTask task(int32_t node, int32_t width, const RowView& row, int32_t number) const override;

 private:
  TriePlace place_of(int32_t node) const;

  PsiSampling psi_;
};

}  // namespace anydraft
