// Keys and values of the tokens of requests, in pages that requests share from one store.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "anydraft/drafter.h"
#include "decoder/matrix.h"
#include "decoder/row_ops.h"

namespace anydraft::detail {

struct CacheShape {
  int64_t layers = 0, kv_heads = 0, head_size = 0;
  bool half = false;  // bfloat16; else float32
};

// One page holds kPageSlots slots of all layers: for each layer and key-value head the keys
// [head_size][slots], then the values [slots][padded(head_size)].
class PageStore {
 public:
  explicit PageStore(const CacheShape& shape);

  uint8_t* take();  // one that was given back, or a new one
  void give_back(uint8_t* page) { free_.push_back(page); }
  const CacheShape& shape() const { return shape_; }
  int64_t bytes_per_slot() const {
    return shape_.layers * shape_.kv_heads * head_bytes_ / kPageSlots;
  }

  uint8_t* keys(uint8_t* page, int64_t layer, int64_t head) const {
    return page + (layer * shape_.kv_heads + head) * head_bytes_;
  }
  uint8_t* values(uint8_t* page, int64_t layer, int64_t head) const {
    return keys(page, layer, head) + keys_bytes_;
  }
  // key and value: [head_size], [padded(head_size)]
  void write(uint8_t* page, int64_t layer, int64_t head, int64_t slot, const float* key,
             const float* value) const;
  // All layers and heads of a slot, to another of the same or another page.
  void copy(uint8_t* from_page, int64_t from, uint8_t* to_page, int64_t to) const;
  int64_t value_stride() const { return padded(shape_.head_size) * entry_; }  // bytes

 private:
  CacheShape shape_;
  int64_t entry_;  // bytes of a number
  int64_t keys_bytes_, head_bytes_;
  std::vector<std::unique_ptr<uint8_t, Free>> pages_;
  std::vector<uint8_t*> free_;
};

// The slots of one request. Slots below `chain` hold the text in order; behind them each knows the
// slot of its parent (-1: none) and its position.
class RequestCache {
 public:
  // Slots after a feed is taken: those kept, then its tokens.
  int64_t size() const { return chain_ + static_cast<int64_t>(nodes_.size()); }
  int64_t parent(int64_t slot) const { return slot < chain_ ? slot - 1 : node(slot).parent; }
  int64_t position(int64_t slot) const { return slot < chain_ ? slot : node(slot).position; }

  // Throws Error(kValue) for a feed that does not fit what is here, as Feed in drafter.h describes.
  void check(const Feed& feed) const;
  // Cuts to what a checked feed keeps, and makes room for its tokens.
  void take(const Feed& feed, PageStore& store);
  // What a token in `slot` sees: all slots below the returned prefix, then the slots appended to
  // `extras`, ascending. The last of them is `slot` itself.
  int64_t visible(int64_t slot, std::vector<int32_t>& extras) const;
  // Keeps of the first `slots` those in the text's order, which no feed moves.
  void cut(int64_t slots, PageStore& store);
  uint8_t* page(int64_t slot) const { return pages_[static_cast<size_t>(slot / kPageSlots)]; }

 private:
  struct Node {
    int64_t parent, position;
  };
  void shrink(size_t pages, PageStore& store);
  const Node& node(int64_t slot) const { return nodes_[static_cast<size_t>(slot - chain_)]; }
  int64_t chain_ = 0;
  std::vector<Node> nodes_;  // behind the chain
  std::vector<Node> moved_;  // of take(); keeps its memory
  std::vector<uint8_t*> pages_;
};

}  // namespace anydraft::detail
