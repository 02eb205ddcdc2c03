// config.json as transformers writes it, in its old and its new form.
#include <algorithm>
#include <cmath>
#include <initializer_list>

#include "decoder/config.h"

namespace anydraft::detail {
namespace {

// The defaults that transformers gives a family where config.json is silent.
struct Family {
  const char* name;  // model_type
  double theta;
  bool windows;  // sliding_window counts without use_sliding_window
};
constexpr Family kFamilies[] = {
    {"llama", 10000, false}, {"smollm3", 2000000, false}, {"mistral", 10000, true},
    {"qwen2", 10000, false}, {"qwen3", 10000, false},     {"gemma3_text", 1000000, true},
    {"phi3", 10000, true},
};

struct InJson {
  const Json& json;
  const Json* operator()(const std::string& key) const { return json.find(key); }
};

class Reader : public Keys<InJson> {
 public:
  explicit Reader(const Json& json) : Keys({json}, "config.json") {}

  std::vector<double> numbers(const std::string& key) const {
    std::vector<double> all;
    const Json* value = find(key);
    if (!value) return all;
    for (const Json& item : value->items()) {
      if (item.number()) all.push_back(*item.number());
    }
    if (!value->is(Json::Kind::kArray) || all.size() != value->items().size()) {
      fail(key + " as numbers");
    }
    return all;
  }
};

double attention_factor(const Reader& in, const Rope& rope) {
  const auto scaled = [&](double by) {
    return rope.factor <= 1 ? 1 : 0.1 * by * std::log(rope.factor) + 1;
  };
  const double mscale = in.number("mscale", 0), all = in.number("mscale_all_dim", 0);
  if (in.find("attention_factor")) return in.number("attention_factor", 0);
  return mscale != 0 && all != 0 ? scaled(mscale) / scaled(all) : 0;
}

// `parameters`: rope_parameters or the older rope_scaling, null where there is neither.
Rope read_rope(const Reader& config, const Json* parameters, double theta, int64_t head_size,
               int64_t context) {
  static const Json kNothing;
  const Reader in(parameters ? *parameters : kNothing);
  if (parameters && !parameters->is(Json::Kind::kObject)) fail("an object of rope parameters");
  Rope rope;
  rope.type = in.text("rope_type", in.text("type", "default"));
  bool known = false;
  for (const char* type : {"default", "linear", "dynamic", "llama3", "yarn", "longrope"}) {
    known |= rope.type == type;
  }
  if (!known)
    fail("a rope type out of default, linear, dynamic, llama3, yarn, longrope, got " + rope.type);
  rope.theta = in.number("rope_theta", config.number("rope_theta", theta));
  const double part = in.number("partial_rotary_factor", config.number("partial_rotary_factor", 1));
  if (!(part > 0 && part <= 1)) fail("partial_rotary_factor from 0 to 1");
  rope.dimensions = static_cast<int64_t>(static_cast<double>(head_size) * part);
  rope.original_context =
      config.number("original_max_position_embeddings",
                    in.number("original_max_position_embeddings", static_cast<double>(context)));
  if (rope.type == "yarn") {  // transformers prefers what stands beside the other parameters
    rope.original_context = in.number("original_max_position_embeddings", rope.original_context);
  }
  rope.factor = in.number("factor", rope.type == "longrope" || rope.type == "yarn"
                                        ? static_cast<double>(context) / rope.original_context
                                        : 1);
  rope.low_freq_factor = in.number("low_freq_factor", 1);
  rope.high_freq_factor = in.number("high_freq_factor", 4);
  rope.beta_fast = in.number("beta_fast", 32);
  rope.beta_slow = in.number("beta_slow", 1);
  rope.truncate = in.truth("truncate", true);
  rope.attention_factor = attention_factor(in, rope);
  rope.short_factor = in.numbers("short_factor");
  rope.long_factor = in.numbers("long_factor");
  return rope;
}

void read_ropes(const Reader& in, const Family& family, DecoderConfig& config) {
  const Json* parameters = in.find("rope_parameters");
  const bool said =
      parameters && !(parameters->is(Json::Kind::kObject) && parameters->members().empty());
  if (!said) parameters = in.find("rope_scaling");
  const Json* full = parameters ? parameters->find("full_attention") : nullptr;
  const Json* local = parameters ? parameters->find("sliding_attention") : nullptr;
  config.rope =
      read_rope(in, full ? full : parameters, family.theta, config.head_size, config.context);
  config.local_rope = config.rope;
  if (config.architecture != "gemma3_text") return;
  static const Json kNothing;
  const double theta = in.number("rope_local_base_freq", 10000);
  config.local_rope = read_rope(Reader(kNothing), local, theta, config.head_size, config.context);
}

void read_kinds(const Reader& in, const Family& family, DecoderConfig& config) {
  const std::string& name = config.architecture;
  const bool windows = family.windows || in.truth("use_sliding_window", false);
  if (config.layers < 1 || config.layers > 1 << 20) fail("num_hidden_layers from 1 to 2^20");
  config.window = windows ? in.whole("sliding_window", 0) : 0;
  config.kinds.assign(static_cast<size_t>(config.layers), {});
  const Json* types = in.find("layer_types");
  const std::vector<double> turns = in.numbers("no_rope_layers");
  const int64_t step = in.whole("no_rope_layer_interval", 4);
  const int64_t pattern = in.whole("sliding_window_pattern", 6);
  for (int64_t i = 0; i < config.layers; ++i) {
    LayerKind& kind = config.kinds[static_cast<size_t>(i)];
    if (name == "smollm3") {
      kind.turns = turns.empty() ? (i + 1) % std::max<int64_t>(step, 1) != 0
                                 : static_cast<size_t>(i) < turns.size() &&
                                       turns[static_cast<size_t>(i)] != 0;
    }
    if (config.window == 0) continue;
    if (types && name != "mistral" && name != "phi3") {
      if (types->items().size() != config.kinds.size()) fail("layer_types for each layer");
      const std::string type(types->items()[static_cast<size_t>(i)].text().value_or(""));
      if (type != "sliding_attention" && type != "full_attention") {
        fail("layer types full_attention and sliding_attention, got " + type);
      }
      kind.slides = type == "sliding_attention";
    } else if (name == "gemma3_text") {
      kind.slides = (i + 1) % std::max<int64_t>(pattern, 1) != 0;
    } else if (name == "qwen2" || name == "qwen3") {
      kind.slides = i >= in.whole("max_window_layers", 28);
    } else {
      kind.slides = name == "smollm3" ? !kind.turns : true;
    }
  }
}

void read_gemma(const Reader& in, DecoderConfig& config) {
  if (in.find("final_logit_softcapping") || in.find("attn_logit_softcapping")) {
    fail("a model without soft-capped logits");
  }
  if (in.truth("use_bidirectional_attention", false)) fail("a causal model");
  config.norm_plus_one = config.post_norms = true;
  config.embedding_scale = std::sqrt(static_cast<float>(config.hidden));
  const double scalar = in.number("query_pre_attn_scalar", 256);
  config.query_scale = static_cast<float>(1 / std::sqrt(scalar));
}

void add_stops(const Json* value, std::vector<int32_t>& stops) {
  if (!value) return;
  const auto add = [&](const Json& item) {
    const int64_t id = item.whole().value_or(-1);
    if (id < 0 || id > INT32_MAX) fail("eos_token_id as ids");
    stops.push_back(static_cast<int32_t>(id));
  };
  if (!value->is(Json::Kind::kArray)) return add(*value);
  for (const Json& item : value->items()) add(item);
}

}  // namespace

DecoderConfig config_of(const Json& json, const Json* generation) {
  const Json* text_config = json.find("text_config");  // beside a vision tower's, say
  const Reader in(text_config ? *text_config : json);
  DecoderConfig config;
  config.architecture = in.text("model_type", "");
  const Family* family = nullptr;
  std::string known;
  for (const Family& one : kFamilies) {
    known += (known.empty() ? "" : ", ") + std::string(one.name);
    if (config.architecture == one.name) family = &one;
  }
  if (!family) fail("model_type out of " + known + ", got \"" + config.architecture + '"');
  if (in.find("quantization_config")) fail("weights that are not quantised, or a GGUF file");
  config.layers = in.whole("num_hidden_layers");
  config.hidden = in.whole("hidden_size");
  config.intermediate = in.whole("intermediate_size");
  config.heads = in.whole("num_attention_heads");
  config.kv_heads = in.whole("num_key_value_heads", config.heads);
  const int64_t usual = config.heads > 0 ? config.hidden / config.heads : 0;
  const bool gemma = config.architecture == "gemma3_text";
  config.head_size = in.whole("head_dim", gemma                            ? 256
                                          : config.architecture == "qwen3" ? 128
                                                                           : usual);
  config.context = in.whole("max_position_embeddings");
  config.epsilon = static_cast<float>(in.number("rms_norm_eps", 1e-6));
  const std::string activation =
      in.text(gemma ? "hidden_activation" : "hidden_act", gemma ? "gelu_pytorch_tanh" : "silu");
  config.gelu = activation == "gelu_pytorch_tanh";
  if (!config.gelu && activation != "silu") {
    fail("activation silu or gelu_pytorch_tanh, got " + activation);
  }
  config.query_scale = static_cast<float>(1 / std::sqrt(static_cast<double>(config.head_size)));
  config.head_norms = gemma || config.architecture == "qwen3";
  config.tied = in.truth("tie_word_embeddings", gemma || config.architecture == "smollm3");
  if (gemma) read_gemma(in, config);
  read_ropes(in, *family, config);
  read_kinds(in, *family, config);
  if (generation) add_stops(generation->find("eos_token_id"), config.stop_tokens);
  if (config.stop_tokens.empty()) add_stops(in.find("eos_token_id"), config.stop_tokens);
  check(config);
  return config;
}

}  // namespace anydraft::detail
