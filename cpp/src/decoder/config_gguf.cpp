// A GGUF file's metadata. What the files leave out is what their writer and reader agree on.
#include <algorithm>
#include <cmath>

#include "decoder/config.h"

namespace anydraft::detail {
namespace {

std::vector<double> factors(const GgufFile& file, const std::string& name) {
  const Tensor* tensor = find_tensor(file.tensors(), name + ".weight");
  std::vector<double> all;
  if (!tensor) return all;
  if (tensor->type->id != GgmlType::kF32) fail(name + " as F32 in " + file.file().path());
  for (uint64_t at = 0; at < tensor->bytes; at += 4) {
    all.push_back(read_as<float>(tensor->data + at));
  }
  return all;
}

Rope read_rope(const Entries& in, const GgufFile& file, const DecoderConfig& config, double theta) {
  Rope rope;
  rope.theta = in.number("rope.freq_base", theta);
  rope.dimensions = in.whole("rope.dimension_count", config.head_size);
  rope.type = in.text("rope.scaling.type", "linear");
  if (rope.type == "none") rope.type = "default";
  if (rope.type != "default" && rope.type != "linear" && rope.type != "yarn" &&
      rope.type != "longrope") {
    in.fail("rope.scaling.type none, linear, yarn or longrope");
  }
  rope.factor = in.number("rope.scaling.factor", in.number("rope.scale_linear", 0));
  if (rope.factor == 0) rope.factor = 1;
  rope.original_context =
      in.number("rope.scaling.original_context_length", static_cast<double>(config.context));
  // Converters mean all of transformers' factor by the first, readers a share of theirs or nothing.
  for (const char* key : {"rope.scaling.yarn_attn_factor", "rope.scaling.yarn_log_multiplier"}) {
    if (in.find(key)) in.fail(std::string("no ") + key);
  }
  if (in.number("rope.scaling.yarn_ext_factor", 1) != 1) {
    in.fail("rope.scaling.yarn_ext_factor as 1, or none");
  }
  rope.beta_fast = in.number("rope.scaling.yarn_beta_fast", 32);
  rope.beta_slow = in.number("rope.scaling.yarn_beta_slow", 1);
  rope.attention_factor = in.number("rope.scaling.attn_factor", 0);
  rope.frequency_factors = factors(file, "rope_freqs");
  rope.short_factor = factors(file, "rope_factors_short");
  rope.long_factor = factors(file, "rope_factors_long");
  if (!rope.long_factor.empty()) {
    rope.type = "longrope";
    rope.factor = static_cast<double>(config.context) / rope.original_context;
  } else if (rope.type == "yarn" && rope.attention_factor != 0) {  // on top of the usual one
    rope.attention_factor *= 1 + 0.1 * std::log(rope.factor);
  }
  return rope;
}

// Layers slide but each `pattern`th, or as a list says of each.
void read_slides(const Entries& in, DecoderConfig& config) {
  const char* const key = "attention.sliding_window_pattern";
  const Json* said = in.find(key);
  if (!said || !said->is(Json::Kind::kArray)) {
    const int64_t pattern = in.whole(key, 6);  // 0: all slide
    for (int64_t i = 0; i < config.layers; ++i) {
      config.kinds[static_cast<size_t>(i)].slides = pattern == 0 || (i + 1) % pattern != 0;
    }
    return;
  }
  const std::vector<Json>& items = said->items();
  if (items.size() != config.kinds.size()) in.fail(std::string(key) + " for each layer");
  for (size_t i = 0; i < items.size(); ++i) {
    const std::optional<bool> slides = items[i].truth();
    if (!slides) in.fail(std::string(key) + " as true or false for each layer");
    config.kinds[i].slides = *slides;
  }
}

void read_gemma(const Entries& in, DecoderConfig& config) {
  for (const char* key : {"final_logit_softcapping", "attn_logit_softcapping"}) {
    if (in.find(key)) in.fail("no soft-capped logits");
  }
  config.gelu = true;
  config.embedding_scale = std::sqrt(static_cast<float>(config.hidden));
  if (config.layers == 62) {  // the 27B model alone scales by the hidden size of a head
    config.query_scale = static_cast<float>(
        1 / std::sqrt(static_cast<double>(config.hidden) / static_cast<double>(config.heads)));
  }
  config.local_rope = {};
  config.local_rope.theta = in.number("rope.freq_base_swa", 10000);
  config.local_rope.dimensions = config.rope.dimensions;
  if (config.window != 0) read_slides(in, config);
}

// Files that name no end of a turn, as Gemma's and Phi's, have it among their tokens; its texts are
// those of anydraft/tokenizer_spec.py.
std::vector<int32_t> read_stops(const Entries& in, const GgufFile& file) {
  std::vector<int32_t> stops;
  const auto add = [&](int64_t id) {
    const bool known = std::find(stops.begin(), stops.end(), id) != stops.end();
    if (!known && id >= 0 && id <= INT32_MAX) stops.push_back(static_cast<int32_t>(id));
  };
  for (const char* key : {"eos_token_id", "eot_token_id", "eom_token_id"}) add(in.whole(key, -1));
  if (in.find("eot_token_id") || in.find("eom_token_id")) return stops;
  for (const int32_t id :
       file.tokens_with({"<|im_end|>", "<end_of_turn>", "<|eot_id|>", "<|end|>"})) {
    add(id);
  }
  return stops;
}

}  // namespace

DecoderConfig config_of(const GgufFile& file) {
  const std::string& path = file.file().path();
  const Entries top(file.metadata(), path);
  if (const int64_t parts = top.whole("split.count", 1); parts > 1) {
    top.fail("a model in one file (llama-gguf-split --merge joins them), got one of " +
             std::to_string(parts) + " parts");
  }
  const std::string name = top.text("general.architecture", "");
  const Entries in(file.metadata(), path, name + '.');
  DecoderConfig config;
  config.architecture = name;
  const bool gemma = name == "gemma3", neighbours = name == "llama" || name == "smollm3";
  if (!gemma && !neighbours && name != "qwen2" && name != "qwen3" && name != "phi3") {
    in.fail("general.architecture out of llama, smollm3, qwen2, qwen3, gemma3, phi3, got \"" +
            name + '"');
  }
  if (in.whole("expert_count", 0) > 0) in.fail("a model without experts");
  if (!in.truth("attention.causal", true)) in.fail("attention.causal as true, got false");
  config.layers = in.whole("block_count");
  config.hidden = in.whole("embedding_length");
  config.intermediate = in.whole("feed_forward_length");
  config.heads = in.whole("attention.head_count");
  config.kv_heads = in.whole("attention.head_count_kv", config.heads);
  const int64_t usual = config.heads > 0 ? config.hidden / config.heads : 0;
  config.head_size = in.whole("attention.key_length", usual);
  if (in.whole("attention.value_length", config.head_size) != config.head_size) {
    in.fail("values as long as keys");
  }
  config.context = in.whole("context_length");
  config.epsilon = static_cast<float>(in.number("attention.layer_norm_rms_epsilon", 1e-6));
  config.pairs_of_neighbours = neighbours;
  config.head_norms = gemma || name == "qwen3";
  config.post_norms = gemma;
  const double scale = 1 / std::sqrt(static_cast<double>(std::max<int64_t>(config.head_size, 1)));
  config.query_scale = static_cast<float>(in.number("attention.scale", scale));
  config.window = in.whole("attention.sliding_window", 0);
  const bool windows = gemma || name == "phi3";
  if (!windows && config.window > 0 && config.window < config.context) {
    in.fail("no attention.sliding_window, whose layers a " + name + " file does not tell, got " +
            std::to_string(config.window));
  }
  if (config.layers < 1 || config.layers > 1 << 20) in.fail("block_count from 1 to 2^20");
  config.kinds.assign(static_cast<size_t>(config.layers), {true, windows && config.window > 0});
  config.rope = config.local_rope = read_rope(in, file, config, gemma ? 1000000 : 10000);
  if (gemma) read_gemma(in, config);
  if (name == "smollm3") {
    for (int64_t i = 3; i < config.layers; i += 4)
      config.kinds[static_cast<size_t>(i)].turns = false;
  }
  config.stop_tokens = read_stops(Entries(file.metadata(), path, "tokenizer.ggml."), file);
  check(config);
  return config;
}

}  // namespace anydraft::detail
