// What a decoder's files leave out, and what they must not say.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "anydraft/error.h"
#include "decoder/config.h"
#include "decoder_files.h"

namespace anydraft {
namespace {

using detail::DecoderConfig;

DecoderConfig folder_of(const std::string& json) {
  return detail::config_of(detail::Json::parse(json, "[test]"), nullptr);
}

// A config.json of `type` and these entries.
DecoderConfig of_type(const std::string& type, const std::string& entries = "") {
  return folder_of(R"({"num_hidden_layers": 8, "hidden_size": 256, "intermediate_size": 40,
                       "model_type": ")" +
                   type + '"' + (entries.empty() ? "" : ", ") + entries + '}');
}

std::vector<int> sliding(const DecoderConfig& config) {
  std::vector<int> layers;
  for (int i = 0; i < static_cast<int>(config.kinds.size()); ++i) {
    if (config.kinds[static_cast<size_t>(i)].slides) layers.push_back(i);
  }
  return layers;
}

template <class F>
void expect_refused(const std::string& part, F f) {
  try {
    f();
    ADD_FAILURE() << "expected an error with " << part;
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find(part), std::string::npos) << error.what();
  }
}

// As google/gemma-3-4b-it has it: the rest is what transformers takes for granted.
TEST(DecoderConfig, GooglesGemma3FolderIsRead) {
  const std::string text = R"("text_config": {"hidden_size": 2560, "intermediate_size": 10240,
      "model_type": "gemma3_text", "num_hidden_layers": 34, "sliding_window": 1024,
      "rope_scaling": {"factor": 8.0, "rope_type": "linear"}})";
  const DecoderConfig config = folder_of(R"({"eos_token_id": [1, 106], )" + text + '}');
  EXPECT_EQ(config.heads, 8);
  EXPECT_EQ(config.kv_heads, 4);
  EXPECT_EQ(config.head_size, 256);
  EXPECT_EQ(config.context, 131072);
  EXPECT_EQ(config.rope.factor, 8);
  EXPECT_EQ(config.local_rope.factor, 1);
  EXPECT_EQ(config.stop_tokens, (std::vector<int32_t>{1, 106}));
  expect_refused("not quantised",
                 [&] { folder_of(R"({"quantization_config": {}, )" + text + '}'); });
}

TEST(DecoderConfig, AnAbsentWindowIsTheFamilysAndNullIsNone) {
  const std::vector<int> all{0, 1, 2, 3, 4, 5, 6, 7}, none;
  EXPECT_EQ(of_type("mistral").window, 4096);
  EXPECT_EQ(sliding(of_type("mistral")), all);
  EXPECT_EQ(sliding(of_type("mistral", R"("sliding_window": null)")), none);
  EXPECT_EQ(sliding(of_type("phi3")), none);
  EXPECT_EQ(sliding(of_type("llama", R"("use_sliding_window": true, "sliding_window": 7)")), none);
  EXPECT_EQ(sliding(of_type("smollm3", R"("use_sliding_window": true)")), none);
  EXPECT_EQ(of_type("gemma3_text").window, 4096);
  EXPECT_EQ(sliding(of_type("gemma3_text")), (std::vector<int>{0, 1, 2, 3, 4, 6, 7}));
  expect_refused("a sliding window", [] { of_type("gemma3_text", R"("sliding_window": null)"); });
  for (const char* qwen : {"qwen2", "qwen3"}) {
    const std::string uses = R"("use_sliding_window": true, "max_window_layers": 6)";
    EXPECT_EQ(sliding(of_type(qwen, R"("max_window_layers": 6)")), none);
    EXPECT_EQ(of_type(qwen, uses).window, 4096);
    EXPECT_EQ(sliding(of_type(qwen, uses)), (std::vector<int>{6, 7}));
    EXPECT_EQ(sliding(of_type(qwen, uses + R"(, "sliding_window": null)")), none);
  }
}

TEST(DecoderConfig, OtherAbsentKeysAreTheFamilysToo) {
  EXPECT_EQ(of_type("mistral").kv_heads, 8);
  EXPECT_EQ(of_type("mistral", R"("num_key_value_heads": null)").kv_heads, 32);
  EXPECT_FLOAT_EQ(of_type("phi3").epsilon, 1e-5f);
  EXPECT_FLOAT_EQ(of_type("llama").epsilon, 1e-6f);
}

TEST(DecoderConfig, WhatIsNoValueOfItsKeyIsRefused) {
  expect_refused("no_rope_layers as numbers",
                 [] { of_type("smollm3", R"("no_rope_layers": [true])"); });
  expect_refused("sliding_window as a whole number",
                 [] { of_type("mistral", R"("sliding_window": 7.5)"); });
  expect_refused("layer types full_attention and sliding_attention, got no text",
                 [] { of_type("qwen2", R"("layer_types": [1, 2, 3, 4, 5, 6, 7, 8])"); });
}

class GgufConfig : public ::testing::Test {
 protected:
  // A file of `type` whose keys `add` may extend.
  template <class Add>
  DecoderConfig of_type(const std::string& type, Add add) {
    testing::Gguf file;
    file.said("general.architecture", type).whole(type + ".block_count", 8);
    file.whole(type + ".embedding_length", 256).whole(type + ".feed_forward_length", 40);
    file.whole(type + ".attention.head_count", 4).whole(type + ".context_length", 300);
    add(file);
    return detail::config_of(detail::GgufFile(folder_.write("model.gguf", file.build())));
  }
  DecoderConfig windowed(const std::string& type, uint32_t window) {
    return of_type(
        type, [&](testing::Gguf& file) { file.whole(type + ".attention.sliding_window", window); });
  }
  testing::ScratchFolder folder_;
};

TEST_F(GgufConfig, AttentionThatIsNotCausalIsRefused) {
  for (const bool causal : {true, false}) {
    const auto read = [&] {
      of_type("llama", [&](auto& file) { file.truth("llama.attention.causal", causal); });
    };
    if (causal) {
      EXPECT_NO_THROW(read());
    } else {
      expect_refused("attention.causal", read);
    }
  }
}

TEST_F(GgufConfig, AWindowIsOfTheLayersThatItsFamilySaysOrRefused) {
  EXPECT_EQ(sliding(windowed("gemma3", 16)), (std::vector<int>{0, 1, 2, 3, 4, 6, 7}));
  EXPECT_EQ(sliding(windowed("phi3", 16)).size(), 8u);
  const DecoderConfig config = of_type("gemma3", [](testing::Gguf& file) {
    file.whole("gemma3.attention.sliding_window", 16);
    file.whole("gemma3.attention.sliding_window_pattern", 3);
  });
  EXPECT_EQ(sliding(config), (std::vector<int>{0, 1, 3, 4, 6, 7}));
  for (const DecoderConfig& none :
       {windowed("gemma3", 0), of_type("gemma3", [](testing::Gguf&) {})}) {
    EXPECT_TRUE(sliding(none).empty());
  }
  for (const char* type : {"llama", "smollm3", "qwen2", "qwen3"}) {
    expect_refused("attention.sliding_window", [&] { windowed(type, 16); });
    EXPECT_TRUE(sliding(windowed(type, 0)).empty());
    EXPECT_TRUE(sliding(windowed(type, 300)).empty());  // no text is longer
  }
}

TEST_F(GgufConfig, APatternMayBeAListOfLayers) {
  const auto listed = [&](uint32_t type, const std::string& items) {
    return of_type("gemma3", [&](testing::Gguf& file) {
      file.whole("gemma3.attention.sliding_window", 16);
      file.list("gemma3.attention.sliding_window_pattern", type, items.size(), items);
    });
  };
  const std::string layers("\1\0\1\1\0\0\0\1", 8);
  EXPECT_EQ(sliding(listed(7, layers)), (std::vector<int>{0, 2, 3, 7}));
  expect_refused("sliding_window_pattern for each layer", [&] { listed(7, layers + '\1'); });
  expect_refused("as true or false for each layer", [&] { listed(0, layers); });
  expect_refused("sliding_window_pattern for each layer", [&] { listed(7, std::string(2000, 1)); });
}

TEST_F(GgufConfig, FactorsOfYarnThatWriterAndReaderTakeDifferentlyAreRefused) {
  const auto scaled = [&](const std::string& key, float value) {
    return of_type("qwen2", [&](testing::Gguf& file) {
      file.said("qwen2.rope.scaling.type", "yarn").number("qwen2.rope.scaling.factor", 4);
      file.number("qwen2.rope.scaling." + key, value);
    });
  };
  EXPECT_EQ(scaled("yarn_ext_factor", 1).rope.attention_factor, 0);
  EXPECT_FLOAT_EQ(static_cast<float>(scaled("attn_factor", 0.5f).rope.attention_factor),
                  0.5f * 1.1386294f);
  for (const char* key : {"yarn_attn_factor", "yarn_ext_factor", "yarn_log_multiplier"}) {
    expect_refused(std::string("rope.scaling.") + key, [&] { scaled(key, 1.25f); });
  }
}

TEST_F(GgufConfig, AnEndOfTurnIsFoundByItsTextWhereTheFileNamesNone) {
  const std::string tokens = testing::Gguf::text("<eos>") + testing::Gguf::text("a") +
                             testing::Gguf::text("<|end|>") + testing::Gguf::text("<end_of_turn>");
  const auto stops = [&](std::vector<std::pair<std::string, uint32_t>> ids) {
    const DecoderConfig config = of_type("gemma3", [&](testing::Gguf& file) {
      for (const auto& [role, id] : ids) file.whole("tokenizer.ggml." + role + "_token_id", id);
      file.list("tokenizer.ggml.tokens", 8, 4, tokens);
    });
    return config.stop_tokens;
  };
  using Ids = std::vector<int32_t>;
  EXPECT_EQ(stops({{"eos", 0}}), (Ids{0, 2, 3}));
  EXPECT_EQ(stops({{"eos", 3}}), (Ids{3, 2}));
  EXPECT_EQ(stops({{"eos", 0}, {"eot", 1}}), (Ids{0, 1}));
  EXPECT_EQ(stops({{"eos", 0}, {"eom", 0}}), (Ids{0}));
  EXPECT_EQ(stops({}), (Ids{2, 3}));
}

TEST_F(GgufConfig, APartOfAModelIsRefused) {
  const auto part = [&](uint16_t count) {
    return of_type("llama", [&](testing::Gguf& file) {
      file.entry("split.count", 2, testing::bytes_of(count));
    });
  };
  EXPECT_EQ(part(1).layers, 8);
  expect_refused("a model in one file (llama-gguf-split --merge joins them), got one of 3 parts",
                 [&] { part(3); });
}

}  // namespace
}  // namespace anydraft
