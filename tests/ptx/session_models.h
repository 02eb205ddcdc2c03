// Toy models for sessions: two vocabularies that cut the same text differently, and logits that are
// a function of the text, in memory or in the device's.
#pragma once

#include <cuda_runtime_api.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "anydraft/engine.h"

namespace anydraft::testing {

// Tokens of letters, then `fillers` that no text has, so that rows have several chunks. Texts are
// cut into the longest tokens from the left.
inline std::shared_ptr<const Vocabulary> words(std::vector<std::string> tokens, int fillers) {
  Vocabulary::Table table;
  table.bytes = tokens;
  for (int i = 0; i < fillers; ++i) table.bytes.push_back("#" + std::to_string(i));
  return std::make_shared<Vocabulary>(table, [tokens](std::string_view text) {
    TokenIds ids;
    while (!text.empty()) {
      int32_t best = -1;
      for (size_t i = 0; i < tokens.size(); ++i) {
        const bool fits = text.compare(0, tokens[i].size(), tokens[i]) == 0;
        const bool longer = best < 0 || tokens[i].size() > tokens[best].size();
        if (fits && longer) best = static_cast<int32_t>(i);
      }
      if (best < 0) throw std::runtime_error("text that cannot be spelt");
      ids.push_back(best);
      text.remove_prefix(tokens[best].size());
    }
    return ids;
  });
}

// Memory of the device, allocated once for a model: what a session allocates is then its own.
class DeviceRows {
 public:
  explicit DeviceRows(size_t bytes) : size_(bytes) { cudaMalloc(&data_, bytes); }
  ~DeviceRows() { cudaFree(data_); }
  DeviceRows(const DeviceRows&) = delete;
  DeviceRows& operator=(const DeviceRows&) = delete;
  // Rows of a call, which stay until the ring comes round again.
  const void* put(const std::vector<char>& rows) {
    if (at_ + rows.size() > size_) at_ = 0;
    void* const to = static_cast<char*>(data_) + at_;
    cudaMemcpy(to, rows.data(), rows.size(), cudaMemcpyHostToDevice);
    at_ += (rows.size() + 255) / 256 * 256;
    return to;
  }

 private:
  void* data_ = nullptr;
  size_t size_, at_ = 0;
};

class ToyModel {
 public:
  // `words`: ids that text is made of; `columns` of logits, those behind the vocabulary padding.
  ToyModel(uint64_t seed, int32_t words, int64_t columns, int64_t size, DType dtype)
      : seed_(seed), words_(words), columns_(columns), size_(size), dtype_(dtype) {}

  std::vector<char> operator()(const std::vector<Feed>& feeds) {
    std::vector<char> rows;
    for (const Feed& feed : feeds) {
      std::vector<uint64_t>& slots = caches_[feed.request];  // hashes of the text up to each
      std::vector<uint64_t> kept(slots.begin(), slots.begin() + feed.keep);
      for (int32_t slot : feed.keep_also) kept.push_back(slots[slot]);
      slots = kept;
      const auto base = static_cast<int64_t>(slots.size());
      for (size_t i = 0; i < feed.tokens.size(); ++i) {
        const int64_t parent = feed.parents[i] < 0 ? base - 1 : base + feed.parents[i];
        const uint64_t before = parent < 0 ? seed_ : slots[parent];
        slots.push_back(mixed(before * 1000003 + static_cast<uint64_t>(feed.tokens[i])));
        if (static_cast<int64_t>(feed.tokens.size() - i) <= feed.rows) add_row(slots.back(), rows);
      }
    }
    return rows;
  }

  RowsView view(const void* data, const std::vector<char>& rows) const {
    const int64_t count = static_cast<int64_t>(rows.size()) / (columns_ * size_of(dtype_));
    return {data, dtype_, count, columns_, columns_};
  }

 private:
  static uint64_t mixed(uint64_t x) {
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
  }
  // Words are likely and fillers not; padding is likely too, where a drafter's rows are cut.
  float logit(uint64_t text, int64_t id) const {
    const float noise =
        static_cast<float>(mixed(text + 77 * static_cast<uint64_t>(id)) % 4096) / 1024;
    if (id < words_) return 2 * noise;
    return id < size_ ? noise - 9 : -INFINITY;
  }
  void add_row(uint64_t text, std::vector<char>& rows) const {
    for (int64_t id = 0; id < columns_; ++id) {
      const float x = logit(text, id);
      uint32_t bits;
      std::memcpy(&bits, &x, sizeof bits);
      const auto* bytes = reinterpret_cast<const char*>(&bits);
      const bool half = dtype_ == DType::kBFloat16;  // its upper two bytes
      rows.insert(rows.end(), bytes + (half ? 2 : 0), bytes + 4);
    }
  }

  uint64_t seed_;
  int32_t words_;
  int64_t columns_, size_;
  DType dtype_;
  std::map<int64_t, std::vector<uint64_t>> caches_;
};

}  // namespace anydraft::testing
