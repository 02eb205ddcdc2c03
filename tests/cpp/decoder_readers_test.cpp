// Files that are not what they claim: errors, and nothing is allocated by what a header says.
#include <gtest/gtest.h>

#include <functional>
#include <string>

#include "anydraft/error.h"
#include "decoder/gguf.h"
#include "decoder/json.h"
#include "decoder/safetensors.h"
#include "decoder_files.h"

namespace anydraft {
namespace {

using detail::Json;
using testing::bytes_of;
using testing::Gguf;

// What `f` throws, "" where it throws nothing.
std::string error_of(const std::function<void()>& f) {
  try {
    f();
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

void expect_error(const std::string& part, const std::function<void()>& f) {
  const std::string error = error_of(f);
  EXPECT_NE(error.find(part), std::string::npos) << "expected " << part << ", got " << error;
}

TEST(JsonReader, ReadsWhatTheStandardSays) {
  const Json json = Json::parse(
      R"( {"a": [1, -2.5e3, true, null, false], "b\n": "\u00e9\ud83d\ude00\"", "": {}} )",
      "[test]");
  ASSERT_EQ(json.members().size(), 3u);
  EXPECT_EQ(json.find("a")->items()[1].number(), -2500);
  EXPECT_EQ(json.find("a")->items()[2].truth(), true);
  EXPECT_EQ(json.find("a")->items()[4].truth(), false);
  EXPECT_EQ(json.find("b\n")->text(), "\xC3\xA9\xF0\x9F\x98\x80\"");
  EXPECT_EQ(json.find("c"), nullptr);
  EXPECT_EQ(Json::parse("9007199254740991", "[test]").whole(), 9007199254740991);
  EXPECT_EQ(Json::parse("9007199254740993", "[test]").whole(), std::nullopt);  // rounded to even
}

TEST(JsonReader, RefusesEverythingElse) {
  for (const char* text :
       {"",    "{",     "[1,]", "[1 2]",  "{\"a\":1,}", "{\"a\":1,\"a\":2}", "01",          "1.",
        "+1",  "1e999", "\"",   "\"\n\"", "\"\\x\"",    "\"\\ud800\"",       "\"\\u12g4\"", "nul",
        "1 1", "{a:1}", "NaN",  "-"}) {
    expect_error("expected JSON with", [&] { Json::parse(text, "[test]"); });
  }
  expect_error("64 levels", [] { Json::parse(std::string(1000000, '['), "[test]"); });
  std::string many = "[0";  // two bytes each in the file, a hundred in memory
  for (int i = 0; i < 1 << 20; ++i) many += ",0";
  expect_error("1048576 values", [&] { Json::parse(many + ']', "[test]"); });
}

class Files : public ::testing::Test {
 protected:
  testing::ScratchFolder folder_;

  void expect_gguf_error(const std::string& part, const std::string& content) {
    const std::string path = folder_.write("model.gguf", content);
    expect_error(part, [&] { detail::GgufFile file(path); });
  }
  void expect_safetensors_error(const std::string& part, const std::string& header,
                                const std::string& data = std::string(64, 'x')) {
    folder_.write("model.safetensors", bytes_of<uint64_t>(header.size()) + header + data);
    expect_error(part, [&] { detail::SafetensorsFolder files(folder_.path()); });
  }
};

TEST_F(Files, AGgufIsReadAsItWasWritten) {
  const std::string path = folder_.write(
      "model.gguf", testing::llama_gguf()
                        .list("list", 8, 2, Gguf::text("ab") + Gguf::text(""))
                        .list("numbers", 1, 2, "\x01\xFF")
                        .entry("int8", 1, "\xFE")
                        .entry("uint8", 0, "\xFE")
                        .entry("int16", 3, bytes_of<int16_t>(-300))
                        .entry("int32", 5, bytes_of<int32_t>(-70000))
                        .entry("int64", 11, bytes_of<int64_t>(-5000000000))
                        .entry("uint64", 10, bytes_of<uint64_t>(5000000000))
                        .entry("beyond", 10, bytes_of<uint64_t>(uint64_t{1} << 63))
                        .entry("rounded", 11, bytes_of<int64_t>((int64_t{1} << 53) + 1))
                        .list("long", 0, 2000, std::string(2000, 1))
                        .entry("float64", 12, bytes_of<double>(0.1))
                        .build());
  const detail::GgufFile file(path);
  EXPECT_EQ(file.metadata().find("general.architecture")->text(), "llama");
  EXPECT_EQ(file.metadata().find("llama.context_length")->whole(), 300);
  EXPECT_EQ(file.metadata().find("llama.context_length")->text(), std::nullopt);
  for (const auto& [key, number] :
       std::initializer_list<std::pair<const char*, int64_t>>{{"int8", -2},
                                                              {"uint8", 254},
                                                              {"int16", -300},
                                                              {"int32", -70000},
                                                              {"int64", -5000000000},
                                                              {"uint64", 5000000000}}) {
    EXPECT_EQ(file.metadata().find(key)->whole(), number) << key;
    EXPECT_EQ(file.metadata().find(key)->number(), static_cast<double>(number)) << key;
  }
  EXPECT_EQ(file.metadata().find("float64")->number(), 0.1);
  EXPECT_EQ(file.metadata().find("list")->items()[0].text(), "ab");
  EXPECT_EQ(file.metadata().find("numbers")->items()[1].whole(), -1);
  EXPECT_TRUE(file.metadata().find("long")->is(Json::Kind::kArray));
  EXPECT_TRUE(file.metadata().find("long")->items().empty());  // a tokeniser's, say
  for (const char* key :
       {"beyond", "rounded", "long", "float64", "numbers", "list", "general.architecture"}) {
    EXPECT_EQ(file.metadata().find(key)->whole(), std::nullopt) << key;
  }
  const detail::Tensor* tensor = find_tensor(file.tensors(), "blk.1.ffn_down.weight");
  ASSERT_NE(tensor, nullptr);
  EXPECT_EQ(tensor->shape, (std::vector<int64_t>{testing::kHidden, testing::kWide}));
  EXPECT_EQ(std::memcmp(tensor->data, testing::random_llama().back().numbers.data(), tensor->bytes),
            0);
}

TEST_F(Files, EveryTruncatedGgufIsRefused) {
  const std::string whole = testing::llama_gguf().build();
  for (size_t size = 0; size < whole.size(); size += size < 3000 ? 1 : 997) {
    expect_gguf_error("expected", whole.substr(0, size));
  }
}

TEST_F(Files, GgufHeadersThatLieAreRefused) {
  const uint64_t kHuge = (uint64_t{1} << 63) - 1;
  const std::string start = "GGUF" + bytes_of<uint32_t>(3);
  const auto none = bytes_of<uint64_t>(0);
  expect_gguf_error("mark", "GGML" + bytes_of<uint32_t>(3) + none + none);
  expect_gguf_error("version 2 or 3", "GGUF" + bytes_of<uint32_t>(0x03000000) + none + none);
  expect_gguf_error("number of tensors", start + bytes_of(kHuge) + none);
  expect_gguf_error("number of entries", start + none + bytes_of(kHuge));
  expect_gguf_error("a key",
                    start + none + bytes_of<uint64_t>(1) + bytes_of(kHuge) + std::string(64, 'x'));
  const auto entry = [&](uint32_t type, const std::string& value) {
    return Gguf().entry("k", type, value + std::string(64, '\0')).build();
  };
  expect_gguf_error("array's length", entry(9, bytes_of<uint32_t>(10) + bytes_of(kHuge / 4)));
  expect_gguf_error("no array of arrays", entry(9, bytes_of<uint32_t>(9) + bytes_of<uint64_t>(1)));
  expect_gguf_error("a type of metadata", entry(13, ""));
  expect_gguf_error("a text", entry(8, bytes_of(kHuge)));
  expect_gguf_error("keys that differ", Gguf().whole("k", 1).whole("k", 1).build());
  expect_gguf_error("power of two", Gguf().whole("general.alignment", 24).build());
  const auto tensor = [&](std::vector<int64_t> shape) {
    return Gguf().tensor({"t", std::move(shape), std::vector<float>(8)}).build();
  };
  EXPECT_EQ(error_of([&] { detail::GgufFile file(folder_.write("m.gguf", tensor({8}))); }), "");
  expect_gguf_error("within the file", tensor({9}));
  expect_gguf_error("whole blocks", tensor({0}));
  expect_gguf_error("whole blocks", tensor({-8}));
  expect_gguf_error("whole blocks", tensor({int64_t{1} << 32, int64_t{1} << 32}));
  expect_gguf_error("whole blocks", tensor({INT64_MAX}));
  expect_gguf_error("1 to 4 dimensions", tensor({1, 1, 1, 1, 8}));
  expect_gguf_error("1 to 4 dimensions", tensor({}));
  const testing::FloatTensor eight{"t", {8}, std::vector<float>(8)};
  expect_gguf_error("different names", Gguf().tensor(eight).tensor(eight).build());
  std::string overlapping = Gguf().tensor(eight).tensor({"u", {8}, eight.numbers}).build();
  const size_t second = overlapping.rfind(bytes_of<uint64_t>(32));
  overlapping.replace(second, 8, bytes_of<uint64_t>(0));
  expect_gguf_error("share no bytes", overlapping);
}

TEST_F(Files, SafetensorsHeadersThatLieAreRefused) {
  const auto entry = [](const std::string& dtype, const std::string& shape, const std::string& at) {
    return "{\"t\":{\"dtype\":\"" + dtype + "\",\"shape\":[" + shape + "],\"data_offsets\":[" + at +
           "]}}";
  };
  EXPECT_EQ(error_of([&] {
              const std::string header = entry("F32", "4,4", "0,64");
              folder_.write("model.safetensors",
                            bytes_of<uint64_t>(header.size()) + header + std::string(64, 'x'));
              detail::SafetensorsFolder files(folder_.path());
            }),
            "");
  expect_safetensors_error("within", entry("F32", "4,5", "0,80"));
  expect_safetensors_error("within", entry("F32", "4,4", "64,0"));
  expect_safetensors_error("within", entry("F32", "4,4", "0"));
  expect_safetensors_error("within", entry("F32", "4,4", "0,9223372036854775807"));
  expect_safetensors_error("as many bytes", entry("F32", "4,3", "0,64"));
  expect_safetensors_error("as many bytes", entry("F32", "-4,-4", "0,64"));
  expect_safetensors_error("as many bytes", entry("F32", "4294967296,4294967296,16", "0,0"));
  expect_safetensors_error("as many bytes", entry("F32", "1e300", "0,64"));
  expect_safetensors_error("a dtype out of", entry("F8_E4M3", "64", "0,64"));
  expect_safetensors_error("data_offsets", "{\"t\":{\"dtype\":\"F32\",\"shape\":[4,4]}}");
  expect_safetensors_error("JSON", "{\"t\":");
  expect_safetensors_error("a header", "[]");
  const std::string half = "\":{\"dtype\":\"F32\",\"shape\":[8],\"data_offsets\":[";
  expect_safetensors_error("share no bytes", "{\"a" + half + "0,32]},\"b" + half + "28,60]}}");
  folder_.write("model.safetensors", bytes_of<uint64_t>((uint64_t{1} << 63) - 1) + "{}");
  expect_error("a header within", [&] { detail::SafetensorsFolder files(folder_.path()); });
  folder_.write("model.safetensors.index.json", R"({"weight_map": {"t": "../x.safetensors"}})");
  expect_error("same folder", [&] { detail::SafetensorsFolder files(folder_.path()); });
}

TEST_F(Files, AnIndexNamesSeveralFiles) {
  const auto all = testing::random_llama();
  folder_.write("a.safetensors", testing::safetensors({all[0]}));
  folder_.write("b.safetensors", testing::safetensors({all[1], all[2]}));
  folder_.write("model.safetensors.index.json", "{\"weight_map\": {\"" + all[0].name +
                                                    "\": \"a.safetensors\", \"" + all[1].name +
                                                    "\": \"b.safetensors\"}}");
  const detail::SafetensorsFolder files(folder_.path());
  EXPECT_NE(find_tensor(files.tensors(), all[2].name), nullptr);
  folder_.write("model.safetensors.index.json", R"({"weight_map": {"gone": "a.safetensors"}})");
  expect_error("tensor gone", [&] { detail::SafetensorsFolder again(folder_.path()); });
}

}  // namespace
}  // namespace anydraft
