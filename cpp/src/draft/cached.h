// Which tokens of a text a model's cache holds.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "anydraft/drafter.h"

namespace anydraft {

// Token i lies in slot i for i < chain, then in slots path[0], path[1], ... (ascending): the path
// that was kept of a tree.
struct Cached {
  int64_t chain = 0;
  std::vector<int32_t> path;

  int64_t size() const { return chain + static_cast<int64_t>(path.size()); }

  void cut(int64_t tokens) {
    if (tokens < size()) path.resize(std::max<int64_t>(tokens - chain, 0));
    chain = std::min(chain, tokens);
  }

  // All of `tokens` tokens lie in order, and behind them those of a tree: `slots`, ascending.
  void set(int64_t tokens, std::vector<int32_t> slots = {}) {
    chain = tokens;
    size_t in_order = 0;
    while (in_order < slots.size() && slots[in_order] == chain) ++in_order, ++chain;
    path.assign(slots.begin() + static_cast<int64_t>(in_order), slots.end());
  }

  // The feed of a text's tokens from the first one that is not cached, at least the last one.
  Feed feed(const TokenIds& text) const {
    Feed feed;
    const int64_t kept = std::min<int64_t>(size(), static_cast<int64_t>(text.size()) - 1);
    feed.keep = std::min(kept, chain);
    feed.keep_also.assign(path.begin(), path.begin() + (kept - feed.keep));
    for (int64_t i = kept; i < static_cast<int64_t>(text.size()); ++i) {
      feed.parents.push_back(static_cast<int32_t>(feed.tokens.size()) - 1);
      feed.positions.push_back(static_cast<int32_t>(i));
      feed.tokens.push_back(text[i]);
    }
    feed.rows = 1;
    return feed;
  }
};

}  // namespace anydraft
