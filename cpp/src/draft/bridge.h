// Bridges at work: how the rows of a drafter become children in target tokens.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "draft/feeder.h"
#include "rows/row_backend.h"

namespace anydraft {

// One round of drafting, which a source and its bridge share.
struct DraftRound {
  DraftRound(const Pair& pair, Bridge bridge, const DraftRequest& request, DraftStats& stats,
             std::shared_ptr<DrafterCache> cache);

  RandomKey key(int32_t number) const;
  // The number of the first of `count` draws that nothing in this round has used. Counted, not
  // taken from a tree's size: equal children merge, so a tree grows by less than was drawn.
  int32_t next_draws(int32_t count) {
    draws += count;
    return draws - count + 1;
  }
  // Children of a row by the scheme; `number`: of the first draw.
  DrawTask task(const RowView& row, const SamplingParams& params, int32_t width,
                int32_t number) const;
  // The draft's row that children were drawn from, kept; -1: none, they are certain.
  int32_t keep_row(Expansion& expansion);

  const Pair& pair;
  const Bridge bridge;  // the pair's, or one that kAuto has chosen
  const DraftRequest& request;
  DraftStats& stats;
  SamplingParams sampling;  // the drafter's
  DraftFeeder feeder;
  DraftTree tree{{}};  // of what the drafter is fed
  Draft draft;         // what is proposed
  bool chain = false;
  double confidence = 1;          // of the chain so far, in the drafter's eyes
  uint32_t position = 0;          // committed length
  int32_t draws = 0;              // no two of a round share a number
  RowBackend* backend = nullptr;  // where the rows of the last call are
};

class DraftBridge {
 public:
  explicit DraftBridge(DraftRound& round) : round_(round) {}
  virtual ~DraftBridge() = default;

  // A round has begun: its trees hold the root.
  virtual void start(const TokenIds&, int64_t) { round_.draft.sampling = round_.sampling; }
  // At most `width` children of a node from the row of the last drafter token above it, with the
  // draws from `number` on. Here token by token: the target's own ids, or those that both share.
  virtual DrawTask task(int32_t node, int32_t width, const RowView& row, int32_t number) const;
  virtual Expansion draw(int32_t node, int32_t width, const RowView& row, int32_t number) {
    return round_.backend->draw(task(node, width, row, number));
  }
  virtual bool ends(int32_t token) const { return round_.request.stops(token); }
  // Whether the bridge updates `round.confidence` itself (from psi).
  virtual bool weighs_itself() const { return false; }
  // The nodes that wait for rows now. May throw what an encoder throws.
  virtual std::vector<int32_t> next_frontier() { return round_.tree.frontier(); }
  virtual void finish() { round_.draft.tree = round_.tree; }  // nothing more is drafted
  // The tree's nodes that the committed text went along, where it went along `path` of the draft.
  std::vector<int32_t> taken_path(const TokenIds& committed,
                                  const std::vector<int32_t>& path) const;
  // Whether the tree is of drafter tokens, whose bytes say how far the text went along it.
  virtual bool goes_by_text() const { return false; }
  virtual std::string text_to(int32_t node) const;  // bytes of the tree's path

 protected:
  DraftRound& round_;
};

std::unique_ptr<DraftBridge> make_bridge(DraftRound& round);
std::unique_ptr<DraftBridge> make_sequence_bridge(DraftRound& round);

// A draft's text in the target's tokens, without an unfinished character; none where the target
// cannot spell it.
TokenIds read_by(const Vocabulary& target, std::string_view draft);

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

}  // namespace anydraft
