// What a drafter model has been fed of a request, and what it is to be fed next.
#pragma once

#include <memory>
#include <vector>

#include "bridge/context.h"
#include "draft/cached.h"
#include "draft/source.h"

namespace anydraft {

// What the drafter's cache holds of a request; bridges that take turns share it.
struct DrafterCache {
  std::unique_ptr<detail::DraftContext> context;  // across vocabularies
  TokenIds told;                                  // target ids the context stands for
  Cached cached;                                  // of the text
};

// The text and a tree of drafter tokens below it. Nodes without a token of their own lie inside a
// drafter token that ends further down.
class DraftFeeder {
 public:
  DraftFeeder(const Pair& pair, std::shared_ptr<DrafterCache> cache);

  // A new round: false where the drafter cannot be told this text. May throw what an encoder
  // throws.
  bool start(const TokenIds& committed);
  // The text in the drafter's tokens.
  const TokenIds& text() const { return context() ? context()->ids() : committed_; }
  int64_t length() const { return static_cast<int64_t>(text().size()); }

  // The drafter's ids of the tree's newest nodes; -1: inside a token.
  void add(const std::vector<int32_t>& tokens) {
    tokens_.insert(tokens_.end(), tokens.begin(), tokens.end());
  }
  int32_t token(int32_t node) const { return tokens_[node]; }
  int32_t position(const DraftTree& tree, int32_t node) const;  // in the drafter's tokens
  // Rows for the frontier: the text where that is its root, else tree nodes.
  Feed feed(const DraftTree& tree, const std::vector<int32_t>& frontier) const;
  void fed(const DraftTree& tree,
           const std::vector<int32_t>& frontier);  // the feed was carried out
  // Keeps in the cache what the drafter has seen of the text that was committed: `path` in the
  // tree.
  void settle(const std::vector<int32_t>& path);
  void failed();

 private:
  detail::DraftContext* context() const { return cache_->context.get(); }
  void tell(const TokenIds& committed);
  bool in_order(const DraftTree& tree, const std::vector<int32_t>& frontier) const;
  struct Nodes {
    std::vector<int32_t> nodes;
    bool appended;  // behind those in the cache, which stay
  };
  Nodes nodes_to_feed(const DraftTree& tree, const std::vector<int32_t>& frontier) const;
  int32_t fed_above(const DraftTree& tree, int32_t node) const;

  const Pair& pair_;
  std::shared_ptr<DrafterCache> cache_;
  TokenIds committed_;
  std::vector<int32_t> tokens_;    // [nodes]
  std::vector<int32_t> in_cache_;  // nodes in the drafter's cache, behind the text
};

}  // namespace anydraft
