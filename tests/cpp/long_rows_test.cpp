// Rows long enough to be read by several threads: the same bits for any number of them.
#include <gtest/gtest.h>

#include <random>
#include <vector>

#include "anydraft/draft.h"
#include "anydraft/threads.h"
#include "block_case.h"
#include "bridge/projection.h"
#include "bridged.h"
#include "rows/draft_rows.h"

namespace anydraft {
namespace {

struct LongRows : ::testing::Test {
  ~LongRows() override { set_threads(0); }
};

std::vector<SamplingParams> sampled() {
  std::vector<SamplingParams> all(4);
  all[1].top_p = 0.9;
  all[2].min_p = 0.01;
  all[3].top_k = 50;
  return all;
}

TEST_F(LongRows, OneRequestIsVerifiedAlike) {
  int64_t verified = 0;
  for (const VerifierInfo& info : verifiers()) {
    for (uint64_t seed : {5, 6, 7}) {
      testing::Case one(info.verifier, 140'000, 1, seed);
      one.request.report_status = true;
      one.request.want_acceptance = info.verifier != Verifier::kMultipath;
      one.params = sampled()[seed % 4];
      set_threads(1);
      const VerifyResult wanted = verify(one.request);
      verified += wanted.status[0].empty();
      for (int threads : {2, 3}) {
        set_threads(threads);
        const VerifyResult got = verify(one.request);
        EXPECT_EQ(got.accepted, wanted.accepted) << info.name;
        EXPECT_EQ(got.next_tokens, wanted.next_tokens) << info.name;
        EXPECT_EQ(got.acceptance, wanted.acceptance) << info.name;
        EXPECT_EQ(got.status, wanted.status) << info.name;
      }
    }
  }
  EXPECT_GT(verified, 12);
}

TEST_F(LongRows, MappedRowsAreDrawnFromAlike) {
  std::mt19937_64 random{3};
  const Vocabulary target = testing::vocabulary(testing::words(20'000, 4, 0, random));
  const Vocabulary drafter = testing::vocabulary(testing::words(90'000, 5, 0, random));
  const VocabularyMap map(drafter, target);
  const DraftTokenTrie trie(drafter, target, map);
  const int64_t size = drafter.size();
  const Projection by_bytes(map, target.size(), size), by_spelling(trie, size, target.size(), size);
  ASSERT_GT(by_spelling.view().grouped_count, 1 << 16);
  std::normal_distribution<float> normal;
  std::vector<float> logits(size);
  for (float& x : logits) x = 2 * normal(random);

  for (const Projection* projection : {&by_bytes, &by_spelling}) {
    for (const SamplingParams& params : sampled()) {
      DraftRow one, several;
      one.logits = several.logits = {logits.data(), DType::kFloat32, size, 0};
      one.projection = several.projection = &projection->view();
      int32_t wanted[4] = {}, got[4] = {};
      for (auto [row, tokens, threads] : {std::tuple{&one, wanted, 1}, {&several, got, 3}}) {
        set_threads(threads);
        prepare(*row, params);
        draw_children(ProposalKind::kWithoutReplacement, *row, params, 4, {}, tokens);
      }
      EXPECT_EQ(one.merged, several.merged);
      EXPECT_EQ(one.known->inverse_total, several.known->inverse_total);
      EXPECT_TRUE(std::equal(wanted, wanted + 4, got));
    }
  }
}

}  // namespace
}  // namespace anydraft
