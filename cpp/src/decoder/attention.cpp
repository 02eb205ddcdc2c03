#include "decoder/attention.h"

#include <algorithm>
#include <atomic>

#include "anydraft/threads.h"
#include "base/parallel.h"

namespace anydraft::detail {
namespace {

constexpr int64_t kMostPairs = 32;  // rows times heads of an item: their sums stay in the cache

// What a row sees: slots [first, prefix), then `extra` of its extras.
struct View {
  int64_t first, prefix;
  const int32_t* extras;
  int64_t extra;

  View(const AttentionJob& job, const PassRow& row)
      : first(job.window > 0 ? std::max<int64_t>(row.position - job.window + 1, 0) : 0),
        prefix(row.prefix),
        extras(job.extras + row.extras_begin),
        extra(static_cast<int64_t>(row.extras_end - row.extras_begin)) {
    const int64_t passed = std::max<int64_t>(first - prefix, 0);  // extras that left the window
    first = std::min(first, prefix);
    extras += passed;
    extra -= passed;
  }
  int64_t count() const { return prefix - first + extra; }
  int64_t last() const { return extra > 0 ? extras[extra - 1] : prefix - 1; }  // slot
  int64_t first_page() const { return (extra < count() ? first : extras[0]) / kPageSlots; }
};

class ItemWork {
 public:
  ItemWork(const AttentionJob& job, const AttentionItem& item, std::vector<float>& scratch)
      : job_(job), item_(item), ops_(row_ops()), size_(job.store->shape().head_size) {
    first_page_ = INT64_MAX;
    for (int64_t r = 0; r < item.rows; ++r) {
      const View view(job, row(r));
      first_page_ = std::min(first_page_, view.first_page());
      last_page_ = std::max(last_page_, view.last() / kPageSlots);
    }
    stride_ = (last_page_ - first_page_ + 1) * kPageSlots + 16;
    const int64_t pairs = item.rows * item.heads;
    const auto wanted = static_cast<size_t>(pairs * (stride_ + padded(size_) + 1));
    if (scratch.size() < wanted) scratch.resize(wanted + wanted / 2);
    scores_ = scratch.data();
    sums_ = scores_ + pairs * stride_;
    totals_ = sums_ + pairs * padded(size_);
    std::fill(sums_, totals_, 0.0f);
  }

  void run() {
    score();
    for (int64_t r = 0; r < item_.rows; ++r) normalise(r);
    weigh();
    for (int64_t r = 0; r < item_.rows; ++r) finish(r);
  }

 private:
  const PassRow& row(int64_t r) const { return job_.rows[item_.row + r]; }
  int64_t kv_head() const { return item_.head / (job_.heads / job_.store->shape().kv_heads); }
  uint8_t* page(int64_t index) const { return row(0).cache->page(index * kPageSlots); }
  float* scores(int64_t r, int64_t h = 0) const {
    return scores_ + (r * item_.heads + h) * stride_;
  }
  float* sums(int64_t r, int64_t h = 0) const {
    return sums_ + (r * item_.heads + h) * padded(size_);
  }

  // Page by page, so that its keys are near for all rows.
  void score() {
    const PageStore& store = *job_.store;
    for (int64_t p = first_page_; p <= last_page_; ++p) {
      const uint8_t* keys = store.keys(page(p), job_.layer, kv_head());
      for (int64_t r = 0; r < item_.rows; ++r) {
        const View view(job_, row(r));
        if (p < view.first_page() || p * kPageSlots > view.last()) continue;
        const int64_t pair = (item_.row + r) * job_.heads + item_.head;
        ops_.scores[store.shape().half](job_.queries + pair * padded(size_), item_.heads, size_,
                                        keys, scores(r) + (p - first_page_) * kPageSlots, stride_);
      }
    }
  }

  // What is seen moves together, in order, to the front of what lies there.
  void normalise(int64_t r) {
    const View view(job_, row(r));
    const int64_t base = first_page_ * kPageSlots;
    for (int64_t h = 0; h < item_.heads; ++h) {
      float* const from = scores(r, h);
      float* const to = from + offset(view);
      for (int64_t i = 0; i < view.extra; ++i) {
        to[view.prefix - view.first + i] = from[view.extras[i] - base];
      }
      totals_[r * item_.heads + h] = ops_.exponentials(to, view.count(), job_.scale);
    }
  }
  // Of a row's first score. A prefix that is out of sight leaves its place to the extras.
  int64_t offset(const View& view) const {
    return std::max<int64_t>(view.first - first_page_ * kPageSlots, 0);
  }

  void weigh() {
    const PageStore& store = *job_.store;
    for (int64_t p = first_page_; p <= last_page_; ++p) {
      const uint8_t* values = store.values(page(p), job_.layer, kv_head());
      for (int64_t r = 0; r < item_.rows; ++r) {
        const View view(job_, row(r));
        const int64_t begin = std::max(view.first, p * kPageSlots);
        const int64_t end = std::min(view.prefix, (p + 1) * kPageSlots);
        const float* weights = scores(r) + offset(view);
        if (begin < end) weigh(r, weights + begin - view.first, values, begin, end - begin);
        for (int64_t i = 0; i < view.extra; ++i) {
          if (view.extras[i] / kPageSlots != p) continue;
          weigh(r, weights + view.prefix - view.first + i, values, view.extras[i], 1);
        }
      }
    }
  }
  void weigh(int64_t r, const float* weights, const uint8_t* values, int64_t slot, int64_t count) {
    const PageStore& store = *job_.store;
    ops_.weigh[store.shape().half](weights, stride_, item_.heads,
                                   values + slot % kPageSlots * store.value_stride(), count,
                                   padded(size_), sums(r));
  }

  void finish(int64_t r) {
    for (int64_t h = 0; h < item_.heads; ++h) {
      float* out = job_.out + ((item_.row + r) * job_.heads + item_.head + h) * size_;
      const float factor = 1.0f / totals_[r * item_.heads + h];
      const float* sum = sums(r, h);
      for (int64_t i = 0; i < size_; ++i) out[i] = sum[i] * factor;
    }
  }

  const AttentionJob& job_;
  const AttentionItem& item_;
  const RowOps& ops_;
  const int64_t size_;
  int64_t first_page_ = 0, last_page_ = 0, stride_ = 0;
  float *scores_, *sums_, *totals_;
};

}  // namespace

void Attention::run(const AttentionJob& job) {
  const int64_t kv_heads = job.store->shape().kv_heads, group = job.heads / kv_heads;
  const int workers = threads();
  // Few rows: heads that share keys are split too, where there would be less than two items each.
  int64_t heads = std::min(group, kMostPairs), most = std::max<int64_t>(kMostPairs / heads, 1);
  const auto items = [&] {
    return (job.count + most - 1) / most * kv_heads * ((group + heads - 1) / heads);
  };
  while (heads > 1 && items() < 2 * workers) {
    heads = (heads + 1) / 2;
    most = kMostPairs / heads;
  }
  items_.clear();
  for (int64_t row = 0; row < job.count;) {
    int64_t rows = 1;
    while (rows < most && row + rows < job.count &&
           job.rows[row + rows].cache == job.rows[row].cache) {
      ++rows;
    }
    for (int64_t kv = 0; kv < kv_heads; ++kv) {
      for (int64_t h = 0; h < group; h += heads) {
        items_.push_back({row, rows, kv * group + h, std::min(heads, group - h)});
      }
    }
    row += rows;
  }
  if (scratch_.size() < static_cast<size_t>(workers)) scratch_.resize(static_cast<size_t>(workers));
  std::atomic<size_t> next{0};
  const auto count = std::min<int64_t>(workers, static_cast<int64_t>(items_.size()));
  parallel_for(count, [&](int64_t worker) {
    std::vector<float>& scratch = scratch_[static_cast<size_t>(worker)];
    for (size_t i = next++; i < items_.size(); i = next++) {
      ItemWork(job, items_[i], scratch).run();
    }
  });
}

}  // namespace anydraft::detail
