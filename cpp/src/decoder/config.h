// What a decoder's files say of its shape, whatever kind of file they are.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "decoder/gguf.h"
#include "decoder/json.h"

namespace anydraft::detail {

// Reads members of an object; those that are null are absent. Keys stand behind `prefix`; errors
// name the key and `where`.
class Entries {
 public:
  Entries(const Json& json, std::string where, std::string prefix = "")
      : json_(json), where_(std::move(where)), prefix_(std::move(prefix)) {}

  const Json* find(const std::string& key) const { return json_.find(prefix_ + key); }
  [[noreturn]] void fail(const std::string& expected) const {
    detail::fail(expected + " in " + where_);
  }
  int64_t whole(const std::string& key, int64_t otherwise) const {
    return read(key, otherwise, "a whole number", &Json::whole);
  }
  int64_t whole(const std::string& key, int64_t missing, int64_t null) const {
    return whole(key, json_.member(prefix_ + key) ? null : missing);
  }
  int64_t whole(const std::string& key) const {
    if (!find(key)) fail(key);
    return whole(key, 0);
  }
  double number(const std::string& key, double otherwise) const {
    return read(key, otherwise, "a number", &Json::number);
  }
  bool truth(const std::string& key, bool otherwise) const {
    return read(key, otherwise, "true or false", &Json::truth);
  }
  std::string text(const std::string& key, const std::string& otherwise) const {
    return read(key, otherwise, "a text", &Json::text);
  }
  std::vector<double> numbers(const std::string& key) const;  // empty where absent

 private:
  template <class T, class Said>
  T read(const std::string& key, const T& otherwise, const char* kind,
         std::optional<Said> (Json::*read_as)() const) const {
    const Json* value = find(key);
    if (!value) return otherwise;
    const std::optional<Said> said = (value->*read_as)();
    if (!said) fail(key + " as " + kind);
    return T(*said);
  }

  const Json& json_;
  std::string where_, prefix_;
};

// Rotary positions. `theta`, `dimensions` and `original_context` are config.json's rope_theta,
// partial_rotary_factor (of a head) and original_max_position_embeddings; the others its own names.
struct Rope {
  std::string type = "default";  // linear, dynamic, llama3, yarn, longrope
  double theta = 10000, factor = 1;
  int64_t dimensions = 0;  // of a head that turn
  double low_freq_factor = 1, high_freq_factor = 4;
  double original_context = 0;
  double beta_fast = 32, beta_slow = 1;
  bool truncate = true;
  double attention_factor = 0;                    // 0: as the type says
  std::vector<double> short_factor, long_factor;  // longrope
  // rope_freqs of a GGUF file: each frequency is divided by its own.
  std::vector<double> frequency_factors;
};

struct LayerKind {
  bool turns = true;    // has rotary positions
  bool slides = false;  // sees the window alone
};

struct DecoderConfig {
  std::string architecture;  // as the files name it
  int64_t layers = 0, hidden = 0, heads = 0, kv_heads = 0, head_size = 0, intermediate = 0;
  int64_t context = 0;               // longest text in tokens
  float epsilon = 0;                 // of the RMS norms
  bool gelu = false;                 // GELU (tanh) gates; else SiLU
  bool head_norms = false;           // of queries and keys
  bool post_norms = false;           // behind attention and feed-forward
  bool tied = false;                 // the embedding is the head (folders)
  bool norm_plus_one = false;        // the files store a norm's weight - 1
  bool pairs_of_neighbours = false;  // rows of queries and keys as Llama's GGUF files order them
  float embedding_scale = 1;
  float query_scale = 0;
  int64_t window = 0;  // of the layers that slide
  std::vector<LayerKind> kinds;
  Rope rope, local_rope;  // of layers that do not slide, and that do
  std::vector<int32_t> stop_tokens;
};

// Throw Error(kValue) where a part is missing or not supported, by name.
DecoderConfig config_of(const GgufFile& file);
// `generation` may be null: generation_config.json, whose stops count first.
DecoderConfig config_of(const Json& config, const Json* generation);

// Checks that no part contradicts another. Both of the above call it.
void check(const DecoderConfig& config);

}  // namespace anydraft::detail
