#include "decoder/weights.h"

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <set>

#include "decoder/model_file.h"
#include "decoder/row_ops.h"
#include "decoder/safetensors.h"

namespace anydraft::detail {
namespace {

class Loader {
 public:
  Loader(const Tensors& tensors, const DecoderConfig& config, DecoderWeights kind, bool gguf)
      : tensors_(tensors), config_(config), kind_(kind), gguf_(gguf) {
    if (gguf) return;
    for (const char* prefix : {"model.", "language_model.model.", "model.language_model."}) {
      prefix_ = prefix;
      if (find_tensor(tensors, prefix_ + "embed_tokens.weight")) return;
    }
    fail("a tensor model.embed_tokens.weight");
  }

  Weights load() {
    Weights weights;
    const std::string embedding = gguf_ ? "token_embd" : prefix_ + "embed_tokens";
    const Tensor& table = tensor(embedding + ".weight");
    if (table.shape.size() != 2) fail("an embedding [vocabulary, hidden]");
    const int64_t vocabulary = table.shape[0];
    if (vocabulary > INT32_MAX) fail("at most 2^31 tokens");
    weights.embedding = table_of(embedding, vocabulary);
    std::string head = gguf_ ? "output" : "lm_head";
    if (!gguf_ && prefix_ == "language_model.model.") head = "language_model.lm_head";
    const bool tied = gguf_ ? !find_tensor(tensors_, "output.weight") : config_.tied;
    if (!tied) weights.own_head = table_of(head, vocabulary);
    if (find_tensor(tensors_, head + ".bias")) fail("a head without a bias");
    weights.norm = norm(gguf_ ? "output_norm" : prefix_ + "norm", config_.hidden);
    for (int64_t i = 0; i < config_.layers; ++i) weights.layers.push_back(layer(i));
    weights.config = config_;
    weights.of_folder = !gguf_;
    refuse_unused();
    return weights;
  }

 private:
  bool has(const std::string& name) const {
    return find_tensor(tensors_, name + ".weight") != nullptr;
  }
  // What the names of layers' tensors begin with.
  std::string layers() const { return gguf_ ? "blk." : prefix_ + "layers."; }
  const Tensor& tensor(const std::string& name) const {
    const Tensor* found = find_tensor(tensors_, name);
    if (!found) fail("a tensor " + name);
    used_.insert(found);
    return *found;
  }
  // A part of a layer that has been passed over would make another model of it.
  void refuse_unused() const {
    const std::string start = layers();
    for (const auto& [name, tensor] : tensors_) {
      const bool of_layer = name.compare(0, start.size(), start) == 0;
      const bool made = name.size() > 8 && name.compare(name.size() - 8, 8, "inv_freq") == 0;
      if (of_layer && !made && used_.count(&tensor) == 0) {
        fail("no tensor " + name + " in a " + config_.architecture + " model");
      }
    }
  }

  LayerWeights layer(int64_t i) {
    const int64_t hidden = config_.hidden, wide = config_.intermediate;
    const int64_t queries = config_.heads * config_.head_size;
    const int64_t keys = config_.kv_heads * config_.head_size;
    const std::string stem = layers() + std::to_string(i) + '.';
    const auto at = [&](const char* gguf, const char* folder) {
      return stem + (gguf_ ? gguf : folder);
    };
    const bool gemma = config_.post_norms;  // also norms what attention and feed-forward give
    LayerWeights layer;
    layer.attention_norm = norm(at("attn_norm", "input_layernorm"), hidden);
    const char* const before = gemma ? "pre_feedforward_layernorm" : "post_attention_layernorm";
    layer.feed_forward_norm = norm(at("ffn_norm", before), hidden);
    if (config_.head_norms) {
      layer.query_norm = norm(at("attn_q_norm", "self_attn.q_norm"), config_.head_size);
      layer.key_norm = norm(at("attn_k_norm", "self_attn.k_norm"), config_.head_size);
    }
    if (gemma) {
      layer.post_attention_norm =
          norm(at("post_attention_norm", "post_attention_layernorm"), hidden);
      layer.post_feed_forward_norm =
          norm(at("post_ffw_norm", "post_feedforward_layernorm"), hidden);
    }
    auto& parts = layer.queries_keys_values;
    const std::string all = at("attn_qkv", "self_attn.qkv_proj");
    if (has(all)) {
      parts.push_back(linear(all, queries + 2 * keys, hidden, paired(queries + keys)));
    } else {
      parts.push_back(linear(at("attn_q", "self_attn.q_proj"), queries, hidden, paired(queries)));
      parts.push_back(linear(at("attn_k", "self_attn.k_proj"), keys, hidden, paired(keys)));
      parts.push_back(linear(at("attn_v", "self_attn.v_proj"), keys, hidden));
    }
    layer.attention_output.push_back(
        linear(at("attn_output", "self_attn.o_proj"), hidden, queries));
    const std::string gate = at("ffn_gate", "mlp.gate_proj");
    if (has(gate)) {
      layer.gate_up.push_back(linear(gate, wide, hidden));
      layer.gate_up.push_back(linear(at("ffn_up", "mlp.up_proj"), wide, hidden));
    } else {
      layer.gate_up.push_back(linear(at("ffn_up", "mlp.gate_up_proj"), 2 * wide, hidden));
    }
    layer.down.push_back(linear(at("ffn_down", "mlp.down_proj"), hidden, wide));
    return layer;
  }
  int64_t paired(int64_t rows) const { return config_.pairs_of_neighbours ? rows : 0; }
  // The first `paired` rows are of queries and keys whose neighbours turn together.
  Linear linear(const std::string& stem, int64_t outputs, int64_t inputs,
                int64_t paired = 0) const {
    return {matrix(stem, outputs, inputs, paired), bias(stem, outputs, paired)};
  }

  Vector vector(const std::string& name, int64_t size) const {
    const Tensor& from = tensor(name);
    if (from.shape != std::vector<int64_t>{size}) {
      fail(std::to_string(size) + " numbers in tensor " + name);
    }
    if (!from.type->is_float()) {
      fail("F32, F16 or BF16 in tensor " + name + ", got " + from.type->name);
    }
    Vector numbers;
    for (int64_t i = 0; i < size; ++i) {
      numbers.push_back(read_float(*from.type->format, from.data + i * from.type->bytes));
    }
    return numbers;
  }
  Vector norm(const std::string& name, int64_t size) const {
    Vector numbers = vector(name + ".weight", size);
    if (find_tensor(tensors_, name + ".bias")) fail("RMS norms, got a bias of " + name);
    if (config_.norm_plus_one) {
      for (float& number : numbers) number += 1;
    }
    return numbers;
  }
  Vector bias(const std::string& name, int64_t size, int64_t paired) const {
    if (!find_tensor(tensors_, name + ".bias")) return {};
    const Vector numbers = vector(name + ".bias", size);
    Vector ordered;
    for (int64_t i = 0; i < size; ++i) {
      ordered.push_back(numbers[static_cast<size_t>(row_in_file(i, paired))]);
    }
    return ordered;
  }
  // Llama's GGUF files order a head's rows by neighbours that turn together; ours turns halves.
  int64_t row_in_file(int64_t row, int64_t paired) const {
    if (row >= paired) return row;
    const int64_t size = config_.head_size, half = size / 2, i = row % size;
    return row - i + (i < half ? 2 * i : 2 * (i - half) + 1);
  }

  // Of a supported type and this shape.
  const Tensor& matrix_tensor(const std::string& stem, int64_t outputs, int64_t inputs) const {
    const std::string name = stem + ".weight";
    const Tensor& from = tensor(name);
    if (from.shape != std::vector<int64_t>{outputs, inputs}) {
      fail('[' + std::to_string(outputs) + ", " + std::to_string(inputs) +
           "] as the shape of tensor " + name);
    }
    if (!from.type->format) {
      fail("a supported type in tensor " + name + ", got " + from.type->name);
    }
    return from;
  }

  WeightMatrix matrix(const std::string& stem, int64_t outputs, int64_t inputs,
                      int64_t paired) const {
    const Tensor& from = matrix_tensor(stem, outputs, inputs);
    std::vector<uint8_t> ordered;
    const uint8_t* data = from.data;
    if (paired > 0) {
      ordered.resize(from.bytes);
      const auto row = static_cast<size_t>(from.bytes) / static_cast<size_t>(outputs);
      for (int64_t i = 0; i < outputs; ++i) {
        std::memcpy(&ordered[static_cast<size_t>(i) * row],
                    from.data + static_cast<size_t>(row_in_file(i, paired)) * row, row);
      }
      data = ordered.data();
    }
    WeightMatrix made = pack(data, *from.type, outputs, inputs);
    from.file->release(from.data, from.bytes);
    return made;
  }

  Table table_of(const std::string& stem, int64_t outputs) const {
    const Tensor& from = matrix_tensor(stem, outputs, config_.hidden);
    const uint64_t row_bytes = from.bytes / static_cast<uint64_t>(outputs);
    Table table;
    table.outputs = outputs;
    table.rows = padded((outputs + Table::kMostSlices - 1) / Table::kMostSlices);
    for (int64_t row = 0; row < outputs; row += table.rows) {
      const int64_t rows = std::min(table.rows, outputs - row);
      const uint8_t* data = from.data + static_cast<uint64_t>(row) * row_bytes;
      table.slices.push_back(pack(data, *from.type, rows, config_.hidden));
      from.file->release(data, static_cast<uint64_t>(rows) * row_bytes);
    }
    return table;
  }

  WeightMatrix pack(const uint8_t* data, const ElementType& type, int64_t outputs,
                    int64_t inputs) const {
    WeightFormat format = WeightFormat::kBfloat16;
    if (kind_ == DecoderWeights::kFloat32) format = WeightFormat::kFloat32;
    if (kind_ == DecoderWeights::kInt8) format = WeightFormat::kI8Row;
    if (kind_ == DecoderWeights::kInt4) format = WeightFormat::kU4Group64;
    const bool half = type.id == GgmlType::kF16 && kind_ == DecoderWeights::kDefault;
    const bool as_it_is = gguf_ || half || type.format == format;
    if (as_it_is) return WeightMatrix::from_ggml(type.id, data, outputs, inputs);
    return WeightMatrix::rounded(type.id, data, outputs, inputs, format);
  }

  const Tensors& tensors_;
  const DecoderConfig& config_;
  DecoderWeights kind_;
  bool gguf_;
  std::string prefix_;  // of all but the head
  mutable std::set<const Tensor*> used_;
};

}  // namespace

Weights load_weights(const std::string& path, DecoderWeights kind) {
  std::error_code unknown;  // what is no path is met where the file is opened
  if (!std::filesystem::is_directory(path, unknown)) {
    if (kind != DecoderWeights::kDefault) {
      fail("no choice of weights with a GGUF file, which is taken as it is");
    }
    const GgufFile file(path);
    const DecoderConfig config = config_of(file);
    return Loader(file.tensors(), config, kind, true).load();
  }
  const std::filesystem::path folder(path), generation = folder / "generation_config.json";
  const Json json = read_json((folder / "config.json").string());
  Json said;
  const bool has_generation = std::filesystem::exists(generation, unknown);
  if (has_generation) said = read_json(generation.string());
  const DecoderConfig config = config_of(json, has_generation ? &said : nullptr);
  const SafetensorsFolder files(path);
  return Loader(files.tensors(), config, kind, false).load();
}

}  // namespace anydraft::detail
