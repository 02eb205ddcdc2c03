// One pass of a decoder over the rows of all its requests.
#pragma once

#include <cstdint>
#include <vector>

#include "base/parallel.h"
#include "decoder/attention.h"
#include "decoder/products.h"
#include "decoder/rotary.h"
#include "decoder/weights.h"

namespace anydraft::detail {

// Buffers keep their memory from pass to pass.
class Pass {
 public:
  explicit Pass(const Weights& weights);

  // `rows` lie in their caches' order and go through the layers in pieces of at most 256; logits
  // [wanted rows, vocab].
  void run(const std::vector<PassRow>& rows, const std::vector<int32_t>& extras, PageStore& store,
           float* logits);

 private:
  struct Buffer {
    Vector numbers;
    float* rows(int64_t count, int64_t width) {
      const auto wanted = static_cast<size_t>(count * width);
      if (numbers.size() < wanted) numbers.resize(wanted);
      return numbers.data();
    }
  };
  void embed();
  // y = x * W^T + bias of the parts, side by side.
  void multiply(const float* x, int64_t x_stride, const LinearParts& parts, float* y,
                int64_t y_stride);
  void attend(const LayerWeights& layer, int64_t index);
  void place(const LayerWeights& layer, int64_t index, int64_t row);
  void feed_forward(const LayerWeights& layer);
  // hidden += x, by its norm where the model has one.
  void add(const Vector& post_norm, float* x);
  void norm_rows(const Vector& weight, float* out);
  // Leaves the rows whose logits are wanted: what follows the last keys is for them alone.
  void keep_wanted();
  void head(float* logits);
  // Calls f(row) for each, on several threads where `numbers` of work a row make that pay.
  template <class F>
  void each_row(int64_t numbers, F f) {
    parallel_for(count_, f, numbers);
  }

  const Weights& weights_;
  const DecoderConfig& config_;
  Rotary rotary_, local_rotary_;
  Attention attention_;
  const PassRow* rows_ = nullptr;
  int64_t count_ = 0;
  const std::vector<int32_t>* extras_ = nullptr;
  PageStore* store_ = nullptr;
  int64_t qkv_width_, head_stride_;
  std::vector<PassRow> wanted_;
  Tiles tiles_;
  Buffer hidden_, normed_, qkv_, queries_, attended_, out_, gate_up_, keys_;
};

}  // namespace anydraft::detail
