#include "decoder/pass.h"

#include <algorithm>
#include <cstring>

namespace anydraft::detail {
namespace {

constexpr int64_t kMostRows = 256;  // of a piece: buffers stay small, whatever a prompt's length
constexpr float kLog2e = 1.44269504f;

}  // namespace

Pass::Pass(const Weights& weights)
    : weights_(weights),
      config_(weights.config),
      rotary_(weights.config.rope),
      local_rotary_(weights.config.local_rope),
      qkv_width_((weights.config.heads + 2 * weights.config.kv_heads) * weights.config.head_size),
      head_stride_(padded(weights.config.head_size)) {}

void Pass::run(const std::vector<PassRow>& rows, const std::vector<int32_t>& extras,
               PageStore& store, float* logits) {
  int64_t end = 0;
  for (const PassRow& row : rows) end = std::max(end, row.position + 1);
  rotary_.prepare(end);
  local_rotary_.prepare(end);
  extras_ = &extras;
  store_ = &store;
  const auto all = static_cast<int64_t>(rows.size());
  for (int64_t begin = 0; begin < all; begin += kMostRows) {
    rows_ = rows.data() + begin;
    count_ = std::min(kMostRows, all - begin);
    embed();
    for (int64_t i = 0; i < config_.layers; ++i) {
      const LayerWeights& layer = weights_.layers[static_cast<size_t>(i)];
      attend(layer, i);
      feed_forward(layer);
    }
    head(logits);
  }
}

void Pass::embed() {
  float* const hidden = hidden_.rows(count_, config_.hidden);
  each_row(16 * config_.hidden, [&](int64_t row) {
    float* const to = hidden + row * config_.hidden;
    weights_.embedding.dequantize_row(rows_[row].token, to);
    if (config_.embedding_scale == 1) return;
    for (int64_t i = 0; i < config_.hidden; ++i) to[i] *= config_.embedding_scale;
  });
}

void Pass::norm_rows(const Vector& weight, float* out) {
  const float* const hidden = hidden_.numbers.data();
  each_row(config_.hidden, [&](int64_t row) {
    row_ops().rms_norm(hidden + row * config_.hidden, weight.data(), config_.hidden,
                       config_.epsilon, out + row * config_.hidden);
  });
}

void Pass::multiply(const float* x, int64_t x_stride, const LinearParts& parts, float* y,
                    int64_t y_stride) {
  Product products[3];
  int64_t count = 0;
  for (const Linear& part : parts) {
    products[count++] = {&part.weights, y, y_stride,
                         part.bias.empty() ? nullptr : part.bias.data()};
    y += part.weights.outputs();
  }
  product(tiles_, x, count_, x_stride, products, count);
}

void Pass::attend(const LayerWeights& layer, int64_t index) {
  float* const normed = normed_.rows(count_, config_.hidden);
  float* const qkv = qkv_.rows(count_, qkv_width_);
  norm_rows(layer.attention_norm, normed);
  multiply(normed, config_.hidden, layer.queries_keys_values, qkv, qkv_width_);

  float* const queries = queries_.rows(count_, config_.heads * head_stride_);
  keys_.rows(count_, 2 * head_stride_);
  each_row(2 * qkv_width_, [&](int64_t row) { place(layer, index, row); });
  if (index + 1 == config_.layers) keep_wanted();
  const LayerKind& kind = config_.kinds[static_cast<size_t>(index)];
  float* const attended = attended_.rows(count_, config_.heads * config_.head_size);
  attention_.run({rows_, count_, extras_->data(), store_, index, config_.heads,
                  kind.slides ? config_.window : 0, config_.query_scale * kLog2e, queries,
                  attended});
  float* const out = out_.rows(count_, config_.hidden);
  multiply(attended, config_.heads * config_.head_size, layer.attention_output, out,
           config_.hidden);
  add(layer.post_attention_norm, out);
}

// Norms and turns a row's queries and keys; keys and values go into the cache.
void Pass::place(const LayerWeights& layer, int64_t index, int64_t row) {
  const RowOps& ops = row_ops();
  const int64_t size = config_.head_size, slot = rows_[row].slot;
  const LayerKind& kind = config_.kinds[static_cast<size_t>(index)];
  const Rotary& rotary = kind.slides ? local_rotary_ : rotary_;
  const float* const cosines = kind.turns ? rotary.cosines(rows_[row].position) : nullptr;
  const auto made = [&](const float* from, const Vector& norm, float* to) {
    if (norm.empty()) {
      std::memcpy(to, from, static_cast<size_t>(size) * sizeof(float));
    } else {
      ops.rms_norm(from, norm.data(), size, config_.epsilon, to);
    }
    if (cosines) ops.rotate(to, cosines, cosines + rotary.half(), rotary.half());
  };
  const float* from = qkv_.numbers.data() + row * qkv_width_;
  for (int64_t h = 0; h < config_.heads; ++h, from += size) {
    made(from, layer.query_norm,
         queries_.numbers.data() + (row * config_.heads + h) * head_stride_);
  }
  float* const key = keys_.numbers.data() + row * 2 * head_stride_;
  float* const value = key + head_stride_;
  uint8_t* const page = rows_[row].cache->page(slot);
  for (int64_t h = 0; h < config_.kv_heads; ++h, from += size) {
    made(from, layer.key_norm, key);
    const float* const source = from + config_.kv_heads * size;
    std::memcpy(value, source, static_cast<size_t>(size) * sizeof(float));
    store_->write(page, index, h, slot % kPageSlots, key, value);
  }
}

void Pass::feed_forward(const LayerWeights& layer) {
  float* const normed = normed_.rows(count_, config_.hidden);
  const int64_t wide = config_.intermediate;
  float* const gate_up = gate_up_.rows(count_, 2 * wide);
  norm_rows(layer.feed_forward_norm, normed);
  multiply(normed, config_.hidden, layer.gate_up, gate_up, 2 * wide);
  each_row(4 * wide, [&](int64_t row) {
    float* const gate = gate_up + row * 2 * wide;
    row_ops().gate(gate, gate + wide, wide, config_.gelu);
  });
  float* const out = out_.rows(count_, config_.hidden);
  multiply(gate_up, 2 * wide, layer.down, out, config_.hidden);
  add(layer.post_feed_forward_norm, out);
}

void Pass::add(const Vector& post_norm, float* x) {
  const int64_t size = config_.hidden;
  float* const hidden = hidden_.numbers.data();
  each_row(size, [&](int64_t row) {
    float* const from = x + row * size;
    if (!post_norm.empty()) {
      row_ops().rms_norm(from, post_norm.data(), size, config_.epsilon, from);
    }
    row_ops().add(hidden + row * size, from, size);
  });
}

void Pass::keep_wanted() {
  const int64_t queries = config_.heads * head_stride_;
  const auto move = [](Buffer& buffer, int64_t from, int64_t to, int64_t width) {
    std::memcpy(buffer.numbers.data() + to * width, buffer.numbers.data() + from * width,
                static_cast<size_t>(width) * sizeof(float));
  };
  wanted_.clear();
  for (int64_t row = 0; row < count_; ++row) {
    if (rows_[row].logits < 0) continue;
    const auto to = static_cast<int64_t>(wanted_.size());
    if (to < row) move(hidden_, row, to, config_.hidden), move(queries_, row, to, queries);
    wanted_.push_back(rows_[row]);
  }
  rows_ = wanted_.data();
  count_ = static_cast<int64_t>(wanted_.size());
}

// The rows that are wanted lie in order, so their logits do.
void Pass::head(float* logits) {
  if (count_ == 0) return;
  const int64_t vocab = weights_.head().outputs;
  float* const normed = normed_.rows(count_, config_.hidden);
  norm_rows(weights_.norm, normed);
  Product products[Table::kMostSlices];
  int64_t parts = 0;
  for (const WeightMatrix& slice : weights_.head().slices) {
    float* const to = logits + rows_[0].logits * vocab + parts * weights_.head().rows;
    products[parts++] = {&slice, to, vocab};
  }
  product(tiles_, normed, count_, config_.hidden, products, parts);
}

}  // namespace anydraft::detail
