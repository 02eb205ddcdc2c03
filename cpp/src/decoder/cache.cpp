#include "decoder/cache.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <new>
#include <string>

#include "anydraft/error.h"

namespace anydraft::detail {
namespace {

[[noreturn]] void fail(const Feed& feed, const std::string& expected) {
  throw Error(ErrorKind::kValue, "[Decoder.forward] expected " + expected + " (request " +
                                     std::to_string(feed.request) + ')');
}

// Where slots lie before and after the cut that a feed asks for.
struct Cut {
  const Feed& feed;
  const int64_t kept = feed.keep + static_cast<int64_t>(feed.keep_also.size());

  int64_t before(int64_t slot) const {
    return slot < feed.keep ? slot : feed.keep_also[static_cast<size_t>(slot - feed.keep)];
  }
  int64_t after(int64_t slot) const {  // -2: nowhere
    if (slot < feed.keep) return slot;
    const auto found = std::lower_bound(feed.keep_also.begin(), feed.keep_also.end(), slot);
    if (found == feed.keep_also.end() || *found != slot) return -2;
    return feed.keep + (found - feed.keep_also.begin());
  }
  // The slot that token i follows; -1: none.
  int64_t parent_of(size_t i) const {
    const int64_t parent = feed.parents[i];
    return parent >= 0 ? kept + parent : parent == -1 ? kept - 1 : -2 - parent;
  }
};

}  // namespace

PageStore::PageStore(const CacheShape& shape) : shape_(shape), entry_(shape.half ? 2 : 4) {
  keys_bytes_ = shape.head_size * kPageSlots * entry_;
  head_bytes_ = keys_bytes_ + padded(shape.head_size) * kPageSlots * entry_;
}

uint8_t* PageStore::take() {
  if (free_.empty()) {
    const auto bytes = static_cast<size_t>(shape_.layers * shape_.kv_heads * head_bytes_);
    std::unique_ptr<uint8_t, Free> page(
        static_cast<uint8_t*>(std::aligned_alloc(64, (bytes + 63) / 64 * 64)));
    if (!page) throw std::bad_alloc();
    std::memset(page.get(), 0, bytes);
    free_.reserve(pages_.size() + 1);  // give_back() must not fail
    pages_.push_back(std::move(page));
    return pages_.back().get();
  }
  uint8_t* const page = free_.back();
  free_.pop_back();
  return page;
}

void PageStore::write(uint8_t* page, int64_t layer, int64_t head, int64_t slot, const float* key,
                      const float* value) const {
  auto* keys = this->keys(page, layer, head);
  auto* values = this->values(page, layer, head) + slot * value_stride();
  const int64_t size = shape_.head_size, wide = padded(size);
  if (shape_.half) {
    auto* to = reinterpret_cast<uint16_t*>(keys);
    for (int64_t i = 0; i < size; ++i) to[i * kPageSlots + slot] = bfloat16_of(key[i]);
    to = reinterpret_cast<uint16_t*>(values);
    for (int64_t i = 0; i < wide; ++i) to[i] = bfloat16_of(value[i]);
  } else {
    auto* to = reinterpret_cast<float*>(keys);
    for (int64_t i = 0; i < size; ++i) to[i * kPageSlots + slot] = key[i];
    std::memcpy(values, value, static_cast<size_t>(wide) * sizeof(float));
  }
}

void PageStore::copy(uint8_t* from_page, int64_t from, uint8_t* to_page, int64_t to) const {
  const auto entry = static_cast<size_t>(entry_);
  for (int64_t layer = 0; layer < shape_.layers; ++layer) {
    for (int64_t head = 0; head < shape_.kv_heads; ++head) {
      const uint8_t* source = keys(from_page, layer, head);
      auto* target = keys(to_page, layer, head);
      for (int64_t i = 0; i < shape_.head_size; ++i) {
        std::memcpy(target + (i * kPageSlots + to) * entry_,
                    source + (i * kPageSlots + from) * entry_, entry);
      }
      std::memcpy(target + keys_bytes_ + to * value_stride(),
                  source + keys_bytes_ + from * value_stride(),
                  static_cast<size_t>(value_stride()));
    }
  }
}

void RequestCache::check(const Feed& feed) const {
  const size_t count = feed.tokens.size();
  if (count == 0 || feed.positions.size() != count || feed.parents.size() != count ||
      feed.rows < 0 || feed.rows > static_cast<int64_t>(count)) {
    fail(feed, "tokens, with a position and a parent for each, and at most as many rows");
  }
  if (feed.keep < 0) fail(feed, "slots to keep, got " + std::to_string(feed.keep));
  int64_t last = feed.keep - 1;
  for (const int32_t slot : feed.keep_also) {
    if (slot <= last) fail(feed, "slots to keep that ascend");
    last = slot;
  }
  if (last >= size()) {
    fail(feed, "slots to keep below " + std::to_string(size()) + ", got " + std::to_string(last));
  }
  const Cut cut{feed};
  for (const int32_t slot : feed.keep_also) {
    if (cut.after(parent(slot)) == -2) fail(feed, "slots kept with their parents");
  }
  for (size_t i = 0; i < count; ++i) {
    const int64_t from = cut.parent_of(i);
    if (from >= cut.kept + static_cast<int64_t>(i) || from < -1) {
      fail(feed, "parents before their children");
    }
    const int64_t before = from < 0           ? -1
                           : from >= cut.kept ? feed.positions[static_cast<size_t>(from - cut.kept)]
                                              : position(cut.before(from));
    if (feed.positions[i] != before + 1) {
      fail(feed, "position " + std::to_string(before + 1) + " behind its parent's, got " +
                     std::to_string(feed.positions[i]));
    }
  }
}

void RequestCache::take(const Feed& feed, PageStore& store) {
  const Cut cut{feed};
  const int64_t end = cut.kept + static_cast<int64_t>(feed.tokens.size());
  const auto pages = static_cast<size_t>((end + kPageSlots - 1) / kPageSlots);
  pages_.reserve(pages);  // so that no page is lost for want of memory
  while (pages_.size() < pages) pages_.push_back(store.take());
  // Slots move down, in order: none is overwritten before it has moved. Where what they hold is not
  // in order, parents and positions move along.
  const int64_t chain = std::min(chain_, feed.keep);
  moved_.clear();
  for (int64_t slot = chain; slot < cut.kept; ++slot) {
    const int64_t from = cut.before(slot);
    if (from != slot) store.copy(page(from), from % kPageSlots, page(slot), slot % kPageSlots);
    moved_.push_back({cut.after(parent(from)), position(from)});
  }
  chain_ = chain;
  nodes_.clear();
  const auto append = [&](const Node& node) {
    const bool follows = node.position == chain_ && node.parent == chain_ - 1;
    if (nodes_.empty() && follows) {
      ++chain_;
    } else {
      nodes_.push_back(node);
    }
  };
  for (const Node& node : moved_) append(node);
  for (size_t i = 0; i < feed.tokens.size(); ++i) append({cut.parent_of(i), feed.positions[i]});
  shrink(pages + 1, store);  // one stays, for the next token may want it
}

int64_t RequestCache::visible(int64_t slot, std::vector<int32_t>& extras) const {
  const size_t begin = extras.size();
  for (; slot >= chain_; slot = parent(slot)) extras.push_back(static_cast<int32_t>(slot));
  std::reverse(extras.begin() + static_cast<int64_t>(begin), extras.end());
  int64_t prefix = slot + 1;
  size_t in_order = begin;
  while (in_order < extras.size() && extras[in_order] == prefix) ++in_order, ++prefix;
  extras.erase(extras.begin() + static_cast<int64_t>(begin),
               extras.begin() + static_cast<int64_t>(in_order));
  return prefix;
}

void RequestCache::cut(int64_t slots, PageStore& store) {
  chain_ = std::min(chain_, slots);
  nodes_.clear();
  shrink(static_cast<size_t>((chain_ + kPageSlots - 1) / kPageSlots), store);
}

void RequestCache::shrink(size_t pages, PageStore& store) {
  for (; pages_.size() > pages; pages_.pop_back()) store.give_back(pages_.back());
}

}  // namespace anydraft::detail
