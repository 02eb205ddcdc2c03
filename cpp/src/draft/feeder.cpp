#include "draft/feeder.h"

#include <algorithm>
#include <utility>

#include "anydraft/error.h"

namespace anydraft {

DraftFeeder::DraftFeeder(const Pair& pair, std::shared_ptr<DrafterCache> cache)
    : pair_(pair), cache_(std::move(cache)) {
  if (!pair.across() || cache_->context) return;
  cache_->context = std::make_unique<detail::DraftContext>(*pair.target, *pair.drafter, *pair.map);
}

// A context only grows. Of a text that was cut or changed the drafter's tokens are made anew, and
// what they share with those of before stays in the cache.
void DraftFeeder::tell(const TokenIds& committed) {
  TokenIds& told = cache_->told;
  const bool grown =
      told.size() <= committed.size() && std::equal(told.begin(), told.end(), committed.begin());
  if (grown) {
    context()->sync(committed);
    cache_->cached.cut(static_cast<int64_t>(context()->fed()));
    told.insert(told.end(), committed.begin() + static_cast<int64_t>(told.size()), committed.end());
    return;
  }
  auto anew = std::make_unique<detail::DraftContext>(*pair_.target, *pair_.drafter, *pair_.map);
  anew->sync(committed);
  const TokenIds &before = context()->ids(), &now = anew->ids();
  const auto fed = before.begin() + static_cast<int64_t>(context()->fed());
  const auto parted = std::mismatch(before.begin(), fed, now.begin(), now.end());
  cache_->cached.cut(parted.first - before.begin());
  cache_->context = std::move(anew);
  told = committed;
}

bool DraftFeeder::start(const TokenIds& committed) {
  in_cache_.clear();
  tokens_.assign(1, -1);
  if (!context()) {
    const auto parted =
        std::mismatch(committed_.begin(), committed_.end(), committed.begin(), committed.end());
    cache_->cached.cut(parted.first - committed_.begin());
    committed_ = committed;
    // An id of no token, which a target with wider logits may emit and a drafter has no row for.
    const int32_t size = pair_.target->size();
    return std::none_of(committed.begin(), committed.end(),
                        [size](int32_t id) { return id >= size; });
  }
  try {
    tell(committed);
  } catch (const Error&) {
    return false;  // text the drafter cannot spell
  }
  return length() > 0;
}

// The nearest node above that ends a drafter token; 0: the text.
int32_t DraftFeeder::fed_above(const DraftTree& tree, int32_t node) const {
  do {
    node = tree.parents[node];
  } while (node > 0 && tokens_[node] < 0);
  return node;
}

// Whether the nodes to feed now all follow the last one fed: the cache then stays as it is.
bool DraftFeeder::in_order(const DraftTree& tree, const std::vector<int32_t>& frontier) const {
  const int32_t last = in_cache_.empty() ? 0 : in_cache_.back();
  for (size_t i = 0; i < in_cache_.size(); ++i) {
    if (fed_above(tree, in_cache_[i]) != (i == 0 ? 0 : in_cache_[i - 1])) return false;
  }
  return std::all_of(frontier.begin(), frontier.end(),
                     [&](int32_t node) { return fed_above(tree, node) == last; });
}

// In the order of the feed. A tree that branches is fed whole, so that a model need not remember
// its shape from call to call.
DraftFeeder::Nodes DraftFeeder::nodes_to_feed(const DraftTree& tree,
                                              const std::vector<int32_t>& frontier) const {
  if (frontier == std::vector<int32_t>{0}) return {{}, true};
  if (in_order(tree, frontier)) return {frontier, true};
  std::vector<int32_t> nodes;
  for (int32_t node = 1; node < tree.size(); ++node) {
    if (tokens_[node] >= 0 && !tree.is_leaf(node)) nodes.push_back(node);
  }
  nodes.insert(nodes.end(), frontier.begin(), frontier.end());
  return {std::move(nodes), false};
}

int32_t DraftFeeder::position(const DraftTree& tree, int32_t node) const {
  auto position = static_cast<int32_t>(length()) - 1;
  for (; node > 0; node = fed_above(tree, node)) ++position;
  return position;
}

Feed DraftFeeder::feed(const DraftTree& tree, const std::vector<int32_t>& frontier) const {
  const auto [nodes, appended] = nodes_to_feed(tree, frontier);
  if (nodes.empty()) return cache_->cached.feed(text());
  Feed feed;
  feed.keep = length() + (appended ? static_cast<int64_t>(in_cache_.size()) : 0);
  for (int32_t node : nodes) {
    const auto parent = std::find(nodes.begin(), nodes.end(), fed_above(tree, node));
    const bool here = !appended && parent != nodes.end();
    feed.tokens.push_back(tokens_[node]);
    feed.positions.push_back(position(tree, node));
    feed.parents.push_back(here ? static_cast<int32_t>(parent - nodes.begin()) : -1);
  }
  feed.rows = static_cast<int64_t>(frontier.size());
  return feed;
}

void DraftFeeder::fed(const DraftTree& tree, const std::vector<int32_t>& frontier) {
  const auto [nodes, appended] = nodes_to_feed(tree, frontier);
  if (!appended) in_cache_.clear();
  in_cache_.insert(in_cache_.end(), nodes.begin(), nodes.end());
  cache_->cached.set(length());
  if (context()) context()->mark_fed();
}

void DraftFeeder::settle(const std::vector<int32_t>& path) {
  std::vector<int32_t> slots;
  const auto before = static_cast<int32_t>(length());
  for (int32_t node : path) {
    if (tokens_[node] < 0) continue;
    const auto found = std::find(in_cache_.begin(), in_cache_.end(), node);
    if (found == in_cache_.end()) break;
    slots.push_back(before + static_cast<int32_t>(found - in_cache_.begin()));
    if (context()) {
      context()->append(tokens_[node]);
    } else {
      committed_.push_back(tokens_[node]);
    }
  }
  in_cache_.clear();
  if (slots.empty()) return;  // the cache is as fed() said, or as before where nothing was fed
  cache_->cached.set(before, std::move(slots));
  if (context()) context()->mark_fed();
}

// A feed keeps at most all tokens but the last, and what it did not keep is gone.
void DraftFeeder::failed() {
  const int64_t kept = std::max<int64_t>(length() - 1, 0);
  cache_->cached.cut(std::min(cache_->cached.chain, kept));
  in_cache_.clear();
}

}  // namespace anydraft
