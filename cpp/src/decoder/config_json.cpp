// config.json as transformers writes it, in its old and its new form.
#include <algorithm>
#include <cmath>
#include <initializer_list>

#include "decoder/config.h"

namespace anydraft::detail {
namespace {

enum class Windows { kNever, kWhereUsed, kAlways };  // kWhereUsed: with use_sliding_window

// The defaults that transformers gives a family where config.json is silent.
struct Family {
  const char* name;  // model_type
  double theta, epsilon;
  int64_t heads, kv_heads, head_size;  // 0: as many as heads; the hidden size's share
  int64_t context, window;             // 0: none
  Windows windows;
};
constexpr Family kFamilies[] = {
    {"llama", 10000, 1e-6, 32, 0, 0, 2048, 0, Windows::kNever},
    {"smollm3", 2000000, 1e-6, 16, 4, 0, 32768, 0, Windows::kWhereUsed},
    {"mistral", 10000, 1e-6, 32, 8, 0, 131072, 4096, Windows::kAlways},
    {"qwen2", 10000, 1e-6, 32, 32, 0, 32768, 4096, Windows::kWhereUsed},
    {"qwen3", 10000, 1e-6, 32, 32, 128, 32768, 4096, Windows::kWhereUsed},
    {"gemma3_text", 1000000, 1e-6, 8, 4, 256, 131072, 4096, Windows::kAlways},
    {"phi3", 10000, 1e-5, 32, 0, 0, 4096, 0, Windows::kAlways},
};

Entries entries_of(const Json& json) { return {json, "config.json"}; }

// Read where transformers reads it; 0: as the type says.
double attention_factor(const Entries& in, const Rope& rope) {
  if (rope.type != "yarn" && rope.type != "longrope") return 0;
  if (in.find("attention_factor")) {
    const double said = in.number("attention_factor", 0);
    if (said == 0) fail("an attention_factor other than 0");
    return said;
  }
  const double mscale = in.number("mscale", 0), all = in.number("mscale_all_dim", 0);
  if (rope.type != "yarn" || mscale == 0 || all == 0) return 0;
  const auto scaled = [&](double by) {
    return rope.factor <= 1 ? 1 : 0.1 * by * std::log(rope.factor) + 1;
  };
  return scaled(mscale) / scaled(all);
}

std::string rope_type(const Entries& in, bool phi3) {
  std::string type = in.text("rope_type", in.text("type", "default"));
  if (phi3 && (type == "su" || type == "yarn")) type = "longrope";  // its older names
  for (const char* known : {"default", "linear", "dynamic", "llama3", "yarn", "longrope"}) {
    if (type == known) return type;
  }
  fail("a rope type out of default, linear, dynamic, llama3, yarn, longrope, got " + type);
}

// Phi-3's heads turn in part. In the other families transformers ignores the factor with the
// default type, and fails with the others.
int64_t dimensions(const Rope& rope, double part, const DecoderConfig& config) {
  if (!(part > 0 && part <= 1)) fail("partial_rotary_factor from 0 to 1");
  if (config.architecture == "phi3") {
    return static_cast<int64_t>(static_cast<double>(config.head_size) * part);
  }
  if (part != 1 && rope.type != "default") {
    fail("no partial_rotary_factor with rope type " + rope.type + " in a " + config.architecture +
         " model, got " + std::to_string(part));
  }
  return config.head_size;
}

const Json kNothing;

// `parameters`: rope_parameters or the older rope_scaling, null where there is neither. `beside`:
// what stands beside them, and comes first for the original context.
Rope read_rope(const Entries& beside, const Json* parameters, double theta,
               const DecoderConfig& config) {
  const Entries in = entries_of(parameters ? *parameters : kNothing);
  if (parameters && !parameters->is(Json::Kind::kObject)) fail("an object of rope parameters");
  const bool phi3 = config.architecture == "phi3";
  const auto context = static_cast<double>(config.context);
  Rope rope;
  rope.type = rope_type(in, phi3);
  rope.theta = in.number("rope_theta", beside.number("rope_theta", theta));
  const double part = in.number("partial_rotary_factor", beside.number("partial_rotary_factor", 1));
  rope.dimensions = dimensions(rope, part, config);
  const char* const original = "original_max_position_embeddings";
  rope.original_context = beside.number(original, phi3 ? 4096 : in.number(original, context));
  rope.factor = in.number("factor", rope.type == "longrope" || rope.type == "yarn"
                                        ? context / rope.original_context
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

void read_ropes(const Entries& in, const Family& family, DecoderConfig& config) {
  const Json* parameters = in.find("rope_parameters");
  const bool said =
      parameters && !(parameters->is(Json::Kind::kObject) && parameters->members().empty());
  if (!said) parameters = in.find("rope_scaling");
  const Json* full = parameters ? parameters->find("full_attention") : nullptr;
  const Json* local = parameters ? parameters->find("sliding_attention") : nullptr;
  if (full) parameters = full;
  if (config.architecture != "gemma3_text") {
    config.rope = config.local_rope = read_rope(in, parameters, family.theta, config);
    return;
  }
  // Of what stands beside its parameters transformers reads the bases alone.
  const Entries none = entries_of(kNothing);
  config.rope = read_rope(none, parameters, in.number("rope_theta", family.theta), config);
  const double theta = in.number("rope_local_base_freq", 10000);
  config.local_rope = read_rope(none, local, theta, config);
}

void read_window(const Entries& in, const Family& family, DecoderConfig& config) {
  const bool windows =
      family.windows == Windows::kAlways ||
      (family.windows == Windows::kWhereUsed && in.truth("use_sliding_window", false));
  if (windows) config.window = in.whole("sliding_window", family.window, 0);
}

void read_turns(const Entries& in, DecoderConfig& config) {
  const std::vector<double> turns = in.numbers("no_rope_layers");
  const int64_t step = std::max<int64_t>(in.whole("no_rope_layer_interval", 4), 1);
  for (size_t i = 0; i < config.kinds.size(); ++i) {
    config.kinds[i].turns = turns.empty() ? (static_cast<int64_t>(i) + 1) % step != 0
                                          : i < turns.size() && turns[i] != 0;
  }
}

bool slides(const Json& type) {
  const std::string name(type.text().value_or("no text"));
  if (name != "sliding_attention" && name != "full_attention") {
    fail("layer types full_attention and sliding_attention, got " + name);
  }
  return name == "sliding_attention";
}

void read_slides(const Entries& in, DecoderConfig& config) {
  const std::string& name = config.architecture;
  const bool alike = name == "llama" || name == "mistral" || name == "phi3";
  const Json* types = alike ? nullptr : in.find("layer_types");
  if (types && types->items().size() != config.kinds.size()) fail("layer_types for each layer");
  const int64_t pattern = std::max<int64_t>(in.whole("sliding_window_pattern", 6), 1);
  const int64_t full = name == "qwen2" || name == "qwen3" ? in.whole("max_window_layers", 28) : 0;
  for (int64_t i = 0; i < config.layers; ++i) {
    LayerKind& kind = config.kinds[static_cast<size_t>(i)];
    if (types) {
      kind.slides = slides(types->items()[static_cast<size_t>(i)]);
    } else if (name == "gemma3_text") {
      kind.slides = (i + 1) % pattern != 0;
    } else if (config.window != 0) {
      kind.slides = name == "smollm3" ? !kind.turns : i >= full;
    }
  }
}

void read_kinds(const Entries& in, const Family& family, DecoderConfig& config) {
  if (config.layers < 1 || config.layers > 1 << 20) fail("num_hidden_layers from 1 to 2^20");
  config.kinds.assign(static_cast<size_t>(config.layers), {});
  read_window(in, family, config);
  if (config.architecture == "smollm3") read_turns(in, config);
  read_slides(in, config);
}

void read_gemma(const Entries& in, DecoderConfig& config) {
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
  const Entries in = entries_of(text_config ? *text_config : json);
  DecoderConfig config;
  config.architecture = in.text("model_type", "");
  const Family* family = nullptr;
  std::string known;
  for (const Family& one : kFamilies) {
    known += (known.empty() ? "" : ", ") + std::string(one.name);
    if (config.architecture == one.name) family = &one;
  }
  if (!family) fail("model_type out of " + known + ", got \"" + config.architecture + '"');
  if (in.find("quantization_config") || json.find("quantization_config")) {
    fail("weights that are not quantised, or a GGUF file");
  }
  config.layers = in.whole("num_hidden_layers");
  config.hidden = in.whole("hidden_size");
  config.intermediate = in.whole("intermediate_size");
  config.heads = in.whole("num_attention_heads", family->heads);
  config.kv_heads = in.whole("num_key_value_heads",
                             family->kv_heads > 0 ? family->kv_heads : config.heads, config.heads);
  const int64_t usual = config.heads > 0 ? config.hidden / config.heads : 0;
  const bool gemma = config.architecture == "gemma3_text";
  config.head_size = in.whole("head_dim", family->head_size > 0 ? family->head_size : usual);
  config.context = in.whole("max_position_embeddings", family->context);
  config.epsilon = static_cast<float>(in.number("rms_norm_eps", family->epsilon));
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
  for (const Json* said : {json.find("eos_token_id"), in.find("eos_token_id")}) {
    if (config.stop_tokens.empty()) add_stops(said, config.stop_tokens);
  }
  check(config);
  return config;
}

}  // namespace anydraft::detail
