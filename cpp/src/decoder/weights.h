// The weights of a decoder, out of a GGUF file or a folder of safetensors.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "anydraft/decoder.h"
#include "decoder/config.h"
#include "decoder/matrix.h"

namespace anydraft::detail {

using Vector = std::vector<float>;  // empty: the model has none

// A matrix of the vocabulary, in slices of rows: each is packed by itself, so that loading needs
// little more memory than the packed weights.
struct Table {
  static constexpr int64_t kMostSlices = 8;
  std::vector<WeightMatrix> slices;  // of `rows` outputs each, the last of fewer
  int64_t rows = 0, outputs = 0;
  bool empty() const { return slices.empty(); }
  void dequantize_row(int64_t row, float* out) const {
    slices[static_cast<size_t>(row / rows)].dequantize_row(row % rows, out);
  }
};

struct Linear {
  WeightMatrix weights;
  Vector bias;
};

using LinearParts = std::vector<Linear>;  // of one input: their outputs, one after another

struct LayerWeights {
  Vector attention_norm, feed_forward_norm;
  Vector query_norm, key_norm;                         // [head_size]
  Vector post_attention_norm, post_feed_forward_norm;  // Gemma
  LinearParts queries_keys_values, attention_output;   // three or one of all; one
  LinearParts gate_up, down;                           // two or one; one
};

struct Weights {
  DecoderConfig config;
  std::vector<LayerWeights> layers;
  Vector norm;
  Table embedding;  // [vocab, hidden]
  Table own_head;   // empty: the embedding is the head
  const Table& head() const { return own_head.empty() ? embedding : own_head; }
  bool of_folder = false;
  // Calls f(WeightMatrix) for each that a pass reads whole.
  template <class F>
  void each_of_step(F f) const {
    for (const WeightMatrix& part : head().slices) f(part);
    for (const LayerWeights& layer : layers) {
      for (const LinearParts* parts :
           {&layer.queries_keys_values, &layer.attention_output, &layer.gate_up, &layer.down}) {
        for (const Linear& part : *parts) f(part.weights);
      }
    }
  }
  int64_t step_weights() const {
    int64_t count = 0;
    each_of_step([&](const WeightMatrix& part) { count += part.outputs() * part.inputs(); });
    return count;
  }
};

Weights load_weights(const std::string& path, DecoderWeights kind);

}  // namespace anydraft::detail
