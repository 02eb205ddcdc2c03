// Drafts by a model: a tree of its tokens, grown level by level.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "draft/bridge.h"

namespace anydraft {

class ModelSource : public DraftSource {
 public:
  ModelSource(const Pair& pair, Bridge bridge, const DraftRequest& request, DraftStats& stats,
              DraftPolicy* policy,
              std::shared_ptr<DrafterCache> cache = std::make_shared<DrafterCache>());

  void start(const TokenIds& committed, int64_t remaining) override;
  bool wants_model() const override { return !frontier_.empty(); }
  Feed feed() const override { return round_.feeder.feed(round_.tree, frontier_); }
  bool waits_for(const Feed& feed) const override {
    return wants_model() && !feed.positions.empty() &&
           feed.rows == static_cast<int64_t>(frontier_.size()) &&
           feed.positions.back() == round_.feeder.position(round_.tree, frontier_.back());
  }
  void plan(const RowsView& rows, int64_t first, std::vector<DrawTask>& tasks) override;
  void take(const RowsView& rows, int64_t first, RowBackend& backend) override;
  void settle(const TokenIds& committed, const std::vector<int32_t>& path,
              const RowsView* target) override;
  void failed() override { round_.feeder.failed(); }
  const Draft& draft() const override { return round_.draft; }
  // The text drafted so far, behind which the next row is; none where the tree has branches.
  std::optional<std::string> drafted_text() const;

 private:
  int32_t width_of(int32_t node, int32_t left) const;
  Expansion draw_next(int32_t node, const RowView& row, int32_t& draws, int32_t& left);
  void add(int32_t node, Expansion expansion);
  DraftPolicy::Step step(const RowView& row);
  bool says_nothing(const RowsView& rows, int64_t first) const;

  DraftRound round_;
  std::unique_ptr<DraftBridge> bridge_;
  DraftPolicy* policy_;
  std::vector<int32_t> frontier_;  // nodes that wait for their children
  std::vector<int32_t> ends_;      // of a chain: the last node when each row had been drawn from
};

}  // namespace anydraft
