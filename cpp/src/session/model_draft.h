// Drafts by a model: a tree of its tokens, grown level by level.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "bridge/context.h"
#include "session/cached.h"
#include "session/proposal.h"

namespace anydraft {

// The children drawn for one node, before the tree has them.
struct Expansion {
  ProposalKind kind = ProposalKind::kOneHot;
  std::vector<int32_t> children;  // tokens of the tree
  std::vector<double> masses;     // in the draft row
  std::vector<int32_t> paths;     // multipath; else empty
  // The drafter's ids of the children; -1: the drafter's token goes on behind this one.
  std::vector<int32_t> fed_as;
  std::vector<float> distribution;  // logits over target ids
};

// What the drafter has been fed of a request; bridges that take turns share it.
struct DrafterCache {
  std::unique_ptr<detail::DraftContext> context;  // across vocabularies
  Cached cached;                                  // of the text
};

class ModelDraft : public Drafting {
 public:
  ModelDraft(const Pair& pair, const Request& request, Stats& stats,
             std::shared_ptr<DrafterCache> cache = std::make_shared<DrafterCache>());

  void start(const TokenIds& committed, int64_t remaining) override;
  bool wants_model() const override { return !frontier_.empty(); }
  Feed feed() const override;
  void take(const RowsView& rows, int64_t first) override;
  void settle(const TokenIds& committed, const std::vector<int32_t>& path) override;
  void failed() override;
  // The text drafted so far, behind which the next row is; none where the tree has branches.
  std::optional<std::string> drafted_text() const;

 protected:
  // Draws the children of a node from the row of the last drafter token above it, with the uniforms
  // from number `uniform` on.
  virtual Expansion draw(int32_t node, int32_t width, const RowsView& rows, int64_t row,
                         int32_t uniform) = 0;
  virtual void keep_distribution(const Expansion&) {
  }                           // its row is the next one of the proposal's distributions
  virtual void finish() = 0;  // the tree is complete: make it the proposal
  // The tree's nodes that the committed text went along.
  virtual std::vector<int32_t> taken_path(const TokenIds& committed,
                                          const std::vector<int32_t>& path) const = 0;
  virtual std::string text_to(int32_t node) const = 0;     // bytes of the tree's path
  virtual RowsView known(const RowsView& rows) const = 0;  // columns that stand for tokens

  // The nodes that wait for their children now, after row `row` was the first of the last feed.
  virtual std::vector<int32_t> next_frontier(const RowsView& rows, int64_t row);

  virtual bool ends(int32_t token) const = 0;  // nothing is drafted behind this token of the tree
  int32_t drafter_token(int32_t node) const { return fed_as_[node]; }
  int64_t context_length() const { return static_cast<int64_t>(text().size()); }
  bool merges() const { return pair_.options.verifier == Verifier::kMultipath; }
  void add_certain(int32_t parent, int32_t drafter_token);
  RandomKey key(int32_t uniform) const;
  // The number of the first of `count` uniforms that nothing in this round has used. Counted, not
  // taken from the tree's size: equal children merge, so the tree grows by less than was drawn.
  int32_t next_uniforms(int32_t count) {
    uniforms_ += count;
    return uniforms_ - count + 1;
  }
  void draw_from(const RowsView& row, int64_t index, const SamplingParams& params, int32_t width,
                 int32_t uniform, Expansion& expansion) const;

  const Pair& pair_;
  const Request& request_;
  Stats& stats_;
  SamplingParams sampling_;  // the drafter's
  DraftTree tree_{{}};       // of this round
  uint32_t position_ = 0;    // committed length
  bool chain_ = false;
  double confidence_ = 1;  // of the chain so far, in the drafter's eyes

 private:
  const TokenIds& text() const { return context_ ? context_->ids() : committed_; }
  int32_t fed_above(int32_t node) const;
  int32_t drafter_depth(int32_t node) const;
  Expansion draw_next(int32_t node, const RowsView& rows, int64_t row, int32_t& uniforms,
                      int32_t& left);
  void add(int32_t node, const Expansion& expansion);
  bool grows_in_order() const;
  std::vector<int32_t> nodes_to_feed() const;
  bool unsure(const RowsView& rows, int64_t row);
  bool says_nothing(const RowsView& rows, int64_t cols, int64_t first) const;

  std::shared_ptr<DrafterCache> cache_;
  detail::DraftContext* context_ = nullptr;  // the cache's
  Cached& cached_;                           // the cache's, of text()
  TokenIds committed_;
  std::vector<int32_t> fed_as_;    // [nodes] the drafter's ids, -1: inside one of its tokens
  std::vector<int32_t> in_cache_;  // nodes in the drafter's cache, behind the text
  std::vector<int32_t> frontier_;  // nodes that wait for their children
  int32_t distributions_ = 0;      // rows of the proposal's distributions
  int32_t uniforms_ = 0;           // used in this round: no two draws share one
};

}  // namespace anydraft
