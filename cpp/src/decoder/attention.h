// Attention of the rows of a pass over the caches of their requests.
#pragma once

#include <cstdint>
#include <vector>

#include "decoder/cache.h"
#include "decoder/config.h"

namespace anydraft::detail {

// A token of a pass. It sees slots [0, prefix) of its request's cache, then `extras`; of a layer
// that slides the last `window` of these. Its text's token i is the i-th of them, so the order in
// which its sums run depends on its position alone.
struct PassRow {
  const RequestCache* cache;
  int32_t token;
  int64_t slot, position;
  int64_t prefix;
  size_t extras_begin, extras_end;  // in AttentionJob::extras
  int64_t logits;                   // where its logits go; -1: not wanted
};

// What attention of a layer needs beside rows. Queries are [rows][heads][padded(head_size)].
struct AttentionJob {
  const PassRow* rows;
  int64_t count;
  const int32_t* extras;
  const PageStore* store;
  int64_t layer, heads;
  int64_t window;  // 0: all
  float scale;     // of scores, times log2(e)
  const float* queries;
  float* out;  // [rows, heads * head_size]
};

// Neighbouring rows of one request with some heads that share keys and values.
struct AttentionItem {
  int64_t row, rows;
  int64_t head, heads;
};

class Attention {
 public:
  void run(const AttentionJob& job);

 private:
  std::vector<std::vector<float>> scratch_;  // of each worker
  std::vector<AttentionItem> items_;
};

}  // namespace anydraft::detail
