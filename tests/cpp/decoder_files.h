// Tiny models as files, made by the tests.
#pragma once

#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <random>
#include <string>
#include <utility>
#include <vector>

namespace anydraft::testing {

// A folder that goes with this object.
class ScratchFolder {
 public:
  ScratchFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "anydraft-XXXXXX").string();
    path_ = ::mkdtemp(name.data());
  }
  ~ScratchFolder() { std::filesystem::remove_all(path_); }
  std::string file(const std::string& name) const { return path_ + '/' + name; }
  const std::string& path() const { return path_; }

  std::string write(const std::string& name, const std::string& content) const {
    std::ofstream(file(name), std::ios::binary) << content;
    return file(name);
  }

 private:
  std::string path_;
};

struct FloatTensor {
  std::string name;
  std::vector<int64_t> shape;  // outermost first
  std::vector<float> numbers;
};

template <class T>
std::string bytes_of(T value) {
  std::string bytes(sizeof value, '\0');
  std::memcpy(bytes.data(), &value, sizeof value);
  return bytes;
}
inline std::string bytes_of(const std::vector<float>& numbers) {
  return {reinterpret_cast<const char*>(numbers.data()), numbers.size() * sizeof(float)};
}

// Builds a GGUF file of version 3 part by part.
class Gguf {
 public:
  static std::string text(const std::string& value) {
    return bytes_of<uint64_t>(value.size()) + value;
  }
  Gguf& entry(const std::string& key, uint32_t type, const std::string& value) {
    entries_ += text(key) + bytes_of(type) + value;
    ++count_;
    return *this;
  }
  Gguf& whole(const std::string& key, uint32_t value) { return entry(key, 4, bytes_of(value)); }
  Gguf& number(const std::string& key, float value) { return entry(key, 6, bytes_of(value)); }
  Gguf& truth(const std::string& key, bool value) { return entry(key, 7, bytes_of(value)); }
  Gguf& said(const std::string& key, const std::string& value) {
    return entry(key, 8, text(value));
  }
  Gguf& list(const std::string& key, uint32_t type, uint64_t count, const std::string& items) {
    return entry(key, 9, bytes_of(type) + bytes_of(count) + items);
  }
  Gguf& tensor(const FloatTensor& tensor) {
    infos_ += text(tensor.name) + bytes_of<uint32_t>(static_cast<uint32_t>(tensor.shape.size()));
    for (auto length = tensor.shape.rbegin(); length != tensor.shape.rend(); ++length) {
      infos_ += bytes_of<int64_t>(*length);
    }
    infos_ += bytes_of<uint32_t>(0) + bytes_of<uint64_t>(data_.size());
    data_ += bytes_of(tensor.numbers);
    data_.resize((data_.size() + 31) / 32 * 32);
    ++tensors_;
    return *this;
  }
  std::string build() const {
    std::string file = "GGUF" + bytes_of<uint32_t>(3) + bytes_of<uint64_t>(tensors_) +
                       bytes_of<uint64_t>(count_) + entries_ + infos_;
    file.resize((file.size() + 31) / 32 * 32);
    return file + data_;
  }

 private:
  std::string entries_, infos_, data_;
  uint64_t count_ = 0, tensors_ = 0;
};

inline std::string safetensors(const std::vector<FloatTensor>& tensors) {
  std::string header = "{", data;
  for (const FloatTensor& tensor : tensors) {
    header +=
        (header.size() > 1 ? ",\"" : "\"") + tensor.name + "\":{\"dtype\":\"F32\",\"shape\":[";
    for (size_t i = 0; i < tensor.shape.size(); ++i) {
      header += (i ? "," : "") + std::to_string(tensor.shape[i]);
    }
    const size_t begin = data.size();
    data += bytes_of(tensor.numbers);
    header +=
        "],\"data_offsets\":[" + std::to_string(begin) + ',' + std::to_string(data.size()) + "]}";
  }
  header += '}';
  header.resize((header.size() + 7) / 8 * 8, ' ');
  return bytes_of<uint64_t>(header.size()) + header + data;
}

// A random Llama of 2 layers: hidden 32, 4 heads of 8 over 2 pairs of keys and values.
constexpr int64_t kVocab = 50, kHidden = 32, kHeads = 4, kKvHeads = 2, kHead = 8, kWide = 40;
constexpr int kLayers = 2;

// Named as in safetensors.
inline std::vector<FloatTensor> random_llama() {
  std::mt19937 random(7);
  std::normal_distribution<float> normal(0, 0.3f);
  std::vector<FloatTensor> all;
  const auto add = [&](const std::string& name, std::vector<int64_t> shape) {
    FloatTensor tensor{name + ".weight", shape, {}};
    int64_t count = 1;
    for (int64_t length : shape) count *= length;
    for (int64_t i = 0; i < count; ++i) tensor.numbers.push_back(normal(random));
    all.push_back(std::move(tensor));
  };
  add("model.embed_tokens", {kVocab, kHidden});
  add("lm_head", {kVocab, kHidden});
  add("model.norm", {kHidden});
  for (int i = 0; i < kLayers; ++i) {
    const std::string layer = "model.layers." + std::to_string(i) + '.';
    add(layer + "input_layernorm", {kHidden});
    add(layer + "post_attention_layernorm", {kHidden});
    add(layer + "self_attn.q_proj", {kHeads * kHead, kHidden});
    add(layer + "self_attn.k_proj", {kKvHeads * kHead, kHidden});
    add(layer + "self_attn.v_proj", {kKvHeads * kHead, kHidden});
    add(layer + "self_attn.o_proj", {kHidden, kHeads * kHead});
    add(layer + "mlp.gate_proj", {kWide, kHidden});
    add(layer + "mlp.up_proj", {kWide, kHidden});
    add(layer + "mlp.down_proj", {kHidden, kWide});
  }
  return all;
}

inline const char* const kLlamaConfig =
    R"({"model_type": "llama", "vocab_size": 50, "hidden_size": 32, "intermediate_size": 40,
        "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
        "max_position_embeddings": 300, "rms_norm_eps": 1e-5, "rope_theta": 100.0,
        "eos_token_id": [2, 3]})";

inline void write_llama_folder(const ScratchFolder& folder) {
  folder.write("config.json", kLlamaConfig);
  folder.write("model.safetensors", safetensors(random_llama()));
}

// The same tensors as its GGUF file has them: rows of queries and keys by pairs that turn together.
inline std::vector<FloatTensor> llama_gguf_tensors() {
  static const std::pair<const char*, const char*> kNames[] = {
      {"model.embed_tokens", "token_embd"}, {"lm_head", "output"},
      {"model.norm", "output_norm"},        {"model.layers.", "blk."},
      {"input_layernorm", "attn_norm"},     {"post_attention_layernorm", "ffn_norm"},
      {"self_attn.q_proj", "attn_q"},       {"self_attn.k_proj", "attn_k"},
      {"self_attn.v_proj", "attn_v"},       {"self_attn.o_proj", "attn_output"},
      {"mlp.gate_proj", "ffn_gate"},        {"mlp.up_proj", "ffn_up"},
      {"mlp.down_proj", "ffn_down"}};
  std::vector<FloatTensor> all = random_llama();
  for (FloatTensor& tensor : all) {
    const bool turns = tensor.name.find("q_proj") != std::string::npos ||
                       tensor.name.find("k_proj") != std::string::npos;
    for (const auto& [ours, theirs] : kNames) {
      const size_t at = tensor.name.find(ours);
      if (at != std::string::npos) tensor.name.replace(at, std::strlen(ours), theirs);
    }
    if (turns) {
      const std::vector<float> halves = tensor.numbers;
      for (int64_t row = 0; row < tensor.shape[0]; ++row) {
        const int64_t i = row % kHead, from = row - i + i / 2 + (i % 2) * kHead / 2;
        std::copy_n(halves.begin() + from * kHidden, kHidden,
                    tensor.numbers.begin() + row * kHidden);
      }
    }
  }
  return all;
}

// A bias for the queries, keys and values of each layer.
inline std::vector<FloatTensor> with_biases(std::vector<FloatTensor> tensors) {
  std::vector<FloatTensor> biases;
  for (const FloatTensor& tensor : tensors) {
    for (const char* part : {"attn_q.", "attn_k.", "attn_v."}) {
      const size_t at = tensor.name.find(part);
      if (at == std::string::npos) continue;
      FloatTensor bias{tensor.name.substr(0, at) + part + "bias", {tensor.shape[0]}, {}};
      for (int64_t i = 0; i < tensor.shape[0]; ++i) {
        bias.numbers.push_back(tensor.numbers[static_cast<size_t>(i * kHidden)]);
      }
      biases.push_back(std::move(bias));
    }
  }
  tensors.insert(tensors.end(), biases.begin(), biases.end());
  return tensors;
}

// Queries, keys and values, which follow one another, as one tensor.
inline std::vector<FloatTensor> fused(const std::vector<FloatTensor>& tensors) {
  std::vector<FloatTensor> all;
  for (FloatTensor tensor : tensors) {
    const size_t at = tensor.name.find("attn_q.");
    const bool follows = tensor.name.find("attn_k.") != std::string::npos ||
                         tensor.name.find("attn_v.") != std::string::npos;
    if (at != std::string::npos) tensor.name.replace(at, 7, "attn_qkv.");
    if (!follows) {
      all.push_back(std::move(tensor));
      continue;
    }
    all.back().shape[0] += tensor.shape[0];
    all.back().numbers.insert(all.back().numbers.end(), tensor.numbers.begin(),
                              tensor.numbers.end());
  }
  return all;
}

inline Gguf llama_gguf(const std::vector<FloatTensor>& tensors = llama_gguf_tensors()) {
  Gguf file;
  file.said("general.architecture", "llama").whole("llama.block_count", kLayers);
  file.whole("llama.embedding_length", kHidden).whole("llama.feed_forward_length", kWide);
  file.whole("llama.attention.head_count", kHeads).whole("llama.attention.head_count_kv", kKvHeads);
  file.whole("llama.context_length", 300).number("llama.rope.freq_base", 100.0f);
  file.number("llama.attention.layer_norm_rms_epsilon", 1e-5f);
  file.whole("tokenizer.ggml.eos_token_id", 2);
  for (const FloatTensor& tensor : tensors) file.tensor(tensor);
  return file;
}

}  // namespace anydraft::testing
