// A decoder's rows: the same from both kinds of file, and without an allocation once it is warm.
#include <gtest/gtest.h>

#include <cstring>
#include <new>
#include <string>
#include <vector>

#include "anydraft/decoder.h"
#include "anydraft/error.h"
#include "anydraft/threads.h"
#include "decoder_files.h"

namespace anydraft {

int64_t allocations_so_far();  // allocation_test.cpp
void fail_allocation_in(int64_t count);

namespace {

Feed chain(const TokenIds& tokens, int64_t keep, int64_t rows, int64_t request = 0) {
  Feed feed;
  feed.request = request;
  feed.tokens = tokens;
  feed.keep = keep;
  feed.rows = rows;
  for (size_t i = 0; i < tokens.size(); ++i) {
    feed.positions.push_back(static_cast<int32_t>(keep) + static_cast<int32_t>(i));
    feed.parents.push_back(static_cast<int32_t>(i) - 1);
  }
  return feed;
}

bool same_bits(const Logits& a, const Logits& b) {
  const RowsView &x = a.rows(), &y = b.rows();
  return x.rows == y.rows && x.cols == y.cols &&
         std::memcmp(x.data, y.data, static_cast<size_t>(x.rows * x.cols) * sizeof(float)) == 0;
}

TEST(DecoderPass, AGgufFileIsTheSameModelAsItsFolder) {
  const testing::ScratchFolder folder;
  testing::write_llama_folder(folder);
  const std::string file = folder.write("model.gguf", testing::llama_gguf().build());
  DecoderOptions exact;
  exact.weights = DecoderWeights::kFloat32;
  Decoder ours(folder.path(), exact), theirs(file);
  EXPECT_EQ(ours.stop_tokens(), (std::vector<int32_t>{2, 3}));
  EXPECT_EQ(theirs.stop_tokens(), (std::vector<int32_t>{2}));
  EXPECT_EQ(theirs.vocab_size(), testing::kVocab);
  TokenIds text;
  for (int32_t i = 0; i < 150; ++i) text.push_back((i * i + 3) % 50);
  EXPECT_TRUE(
      same_bits(ours.forward({chain(text, 0, 150)}), theirs.forward({chain(text, 0, 150)})));
  EXPECT_THROW(Decoder(file, exact), Error);
}

TEST(DecoderPass, QueriesKeysAndValuesMayBeOneTensor) {
  const testing::ScratchFolder folder;
  const Feed text = chain({1, 2, 3, 4, 5, 6, 7, 8}, 0, 8);
  const auto plain = testing::llama_gguf_tensors();
  for (const auto& tensors : {plain, testing::with_biases(plain)}) {
    Decoder three(folder.write("three.gguf", testing::llama_gguf(tensors).build()));
    Decoder one(folder.write("one.gguf", testing::llama_gguf(testing::fused(tensors)).build()));
    EXPECT_TRUE(same_bits(three.forward({text}), one.forward({text})));
  }
}

std::string config_with(const std::string& entry) {
  return "{" + entry + ", " + std::string(testing::kLlamaConfig).substr(1);
}

// As llama.cpp reads it: files may leave the type out, and older ones name the factor otherwise.
TEST(DecoderPass, AGgufFilesScaleWithoutATypeIsLinear) {
  const testing::ScratchFolder folder;
  testing::write_llama_folder(folder);
  folder.write("config.json", config_with(R"("rope_scaling": {"type": "linear", "factor": 4.0})"));
  DecoderOptions exact;
  exact.weights = DecoderWeights::kFloat32;
  Decoder ours(folder.path(), exact);
  const Feed text = chain({1, 2, 3, 4, 5, 6, 7, 8}, 0, 8);
  const Logits scaled = ours.forward({text});
  for (const char* key : {"llama.rope.scaling.factor", "llama.rope.scale_linear"}) {
    testing::Gguf file = testing::llama_gguf();
    Decoder theirs(folder.write("model.gguf", file.number(key, 4.0f).build()));
    EXPECT_TRUE(same_bits(scaled, theirs.forward({text}))) << key;
  }
}

TEST(DecoderPass, WhatIsNotReadIsRefused) {
  const testing::ScratchFolder folder;
  const std::string file = folder.write(
      "model.gguf", testing::llama_gguf().whole("llama.rope.dimension_count", 4).build());
  EXPECT_THROW(Decoder{file}, Error);  // its rows are ordered by whole heads
  EXPECT_THROW(Decoder{std::string(5000, 'a')}, Error);
  testing::write_llama_folder(folder);
  for (const char* entry :
       {R"("rope_scaling": "linear")", R"("tie_word_embeddings": "true")", R"("hidden_act": 1)"}) {
    folder.write("config.json", config_with(entry));
    EXPECT_THROW(Decoder{folder.path()}, Error) << entry;
  }
}

TEST(DecoderPass, NothingIsAllocatedOnceItIsWarm) {
  const testing::ScratchFolder folder;
  testing::write_llama_folder(folder);
  Decoder model(folder.path());
  set_threads(1);
  // Chains, and a tree of which a path is kept.
  std::vector<Feed> first{chain({1, 2, 3, 4, 5}, 0, 1), chain({5, 6}, 0, 2, 7)};
  std::vector<Feed> tree{chain({7, 8, 9, 10}, 5, 4), chain({9}, 2, 1, 7)};
  tree[0].parents = {-1, 0, 0, 2};
  tree[0].positions = {5, 6, 6, 7};
  std::vector<Feed> next{chain({11, 12}, 8, 2), chain({9}, 3, 1, 7)};
  next[0].keep = 5;
  next[0].keep_also = {5, 7, 8};
  int64_t before = 0;
  for (int turn = 0; turn < 4; ++turn) {
    if (turn == 3) before = allocations_so_far();
    model.forward(first);
    model.forward(tree);
    model.forward(next);
  }
  EXPECT_EQ(allocations_so_far() - before, 0);
  set_threads(0);
}

TEST(DecoderPass, RequestsTakeTheirCachesInTurns) {
  const testing::ScratchFolder folder;
  testing::write_llama_folder(folder);
  Decoder model(folder.path());
  TokenIds text(140, 4);
  text[70] = 9;
  const Logits alone = model.forward({chain(text, 0, 5)});
  for (int64_t request = 1; request < 9; ++request) {  // in pages that others have left
    EXPECT_TRUE(same_bits(model.forward({chain(text, 0, 5, request)}), alone));
    model.forget(request);
  }
  model.forward({chain(text, 30, 5, 0)});  // cut, and grown again behind the cut
  EXPECT_TRUE(same_bits(model.forward({chain({text.begin() + 20, text.end()}, 20, 5)}), alone));
}

TEST(DecoderPass, SlotsToKeepAreNotNegative) {
  const testing::ScratchFolder folder;
  testing::write_llama_folder(folder);
  Decoder model(folder.path());
  for (const int64_t keep : {int64_t{-1}, INT64_MIN}) {
    Feed feed = chain({5}, 0, 1);
    feed.keep = keep;
    try {
      model.forward({feed});
      ADD_FAILURE() << "expected an error for " << keep;
    } catch (const Error& error) {
      const std::string part = "slots to keep, got " + std::to_string(keep);
      EXPECT_NE(std::string(error.what()).find(part), std::string::npos) << error.what();
    }
  }
}

// Wherever memory runs out, no cache claims tokens that were not computed, and none loses those
// that the feed kept.
TEST(DecoderPass, APassThatFailsLeavesNothingBehind) {
  const testing::ScratchFolder folder;
  testing::write_llama_folder(folder);
  const TokenIds text(140, 4);
  const std::vector<Feed> first{chain({text.begin(), text.begin() + 60}, 0, 1)};
  const std::vector<Feed> more{chain({text.begin() + 60, text.end()}, 60, 5),
                               chain({1, 2}, 0, 1, 7)};
  const std::vector<Feed> whole{chain(text, 0, 5)};
  const Logits expected = Decoder(folder.path()).forward(whole);
  set_threads(1);
  int64_t failures = 0;
  for (bool failed = true; failed; ++failures) {
    Decoder model(folder.path());
    model.forward(first);
    fail_allocation_in(failures + 1);
    failed = false;
    try {
      model.forward(more);
    } catch (const std::bad_alloc&) {
      failed = true;
    }
    fail_allocation_in(0);
    if (!failed) break;
    EXPECT_THROW(model.forward({chain({5}, 140, 1)}), Error) << failures;
    EXPECT_THROW(model.forward({chain({5}, 2, 1, 7)}), Error) << failures;
    EXPECT_TRUE(same_bits(model.forward({more[0]}), expected)) << failures;
    EXPECT_TRUE(same_bits(model.forward(whole), expected)) << failures;
  }
  EXPECT_GT(failures, 5);
  set_threads(0);
}

}  // namespace
}  // namespace anydraft
