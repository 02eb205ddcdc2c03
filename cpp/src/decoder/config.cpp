#include "decoder/config.h"

#include <cmath>

namespace anydraft::detail {

std::vector<double> Entries::numbers(const std::string& key) const {
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

void check(const DecoderConfig& config) {
  const auto require = [&](bool right, const char* expected) {
    if (!right) fail(expected + (" in a " + config.architecture) + " model's configuration");
  };
  constexpr int64_t kMost = 1 << 20;
  const auto sane = [](int64_t size) { return size >= 1 && size <= kMost; };
  require(sane(config.layers) && sane(config.hidden) && sane(config.intermediate),
          "layers, hidden and intermediate sizes from 1 to 2^20");
  require(sane(config.heads) && sane(config.kv_heads) && sane(config.head_size) &&
              sane(config.heads * config.head_size) && config.heads % config.kv_heads == 0,
          "heads as a multiple of key-value heads, of sizes from 1 to 2^20");
  require(config.context >= 1 && config.context <= INT32_MAX, "a context length");
  require(config.epsilon >= 0 && std::isfinite(config.epsilon) &&
              std::isfinite(config.embedding_scale) && std::isfinite(config.query_scale) &&
              config.query_scale > 0,
          "finite scales");
  require(config.kinds.size() == static_cast<size_t>(config.layers), "a kind for each layer");
  bool slides = false, turns = false;
  for (const LayerKind& kind : config.kinds) slides |= kind.slides, turns |= kind.turns;
  require(!slides || config.window >= 1, "a sliding window");
  for (const Rope* rope : {&config.rope, &config.local_rope}) {
    require(!turns || (rope->theta > 0 && std::isfinite(rope->theta) && rope->factor > 0 &&
                       std::isfinite(rope->factor)),
            "a positive rope base and factor");
    require((rope->original_context >= 1 && rope->original_context <= INT32_MAX) ||
                rope->type == "default",
            "an original context length");
    require(!turns || (rope->dimensions >= 2 && rope->dimensions % 2 == 0 &&
                       rope->dimensions <= config.head_size),
            "an even number of turning dimensions within a head");
    require(!config.pairs_of_neighbours || rope->dimensions == config.head_size,
            "heads that turn whole");
    const auto half = static_cast<size_t>(rope->dimensions / 2);
    if (rope->type == "longrope") {
      require(rope->short_factor.size() == half && rope->long_factor.size() == half,
              "short and long factors of a length");
    }
    require(rope->frequency_factors.empty() || rope->frequency_factors.size() == half,
            "as many frequency factors as frequencies");
  }
}

}  // namespace anydraft::detail
