// Distributions and draws allocate nothing once a thread has seen a row of that size.
#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <new>
#include <random>
#include <vector>

#include "anydraft/sampling.h"
#include "anydraft/threads.h"
#include "anydraft/verify.h"

static std::atomic<int64_t> allocations{0}, until_failure{0};

static void* counted(std::size_t size) noexcept {
  ++allocations;
  if (until_failure > 0 && --until_failure == 0) return nullptr;
  return std::malloc(size > 0 ? size : 1);
}

// With the form that std::stable_sort calls: a sanitizer has one of its own, not made of this one.
[[gnu::noinline]] void* operator new(std::size_t size) {
  if (void* block = counted(size)) return block;
  throw std::bad_alloc();
}
[[gnu::noinline]] void* operator new(std::size_t size, const std::nothrow_t&) noexcept {
  return counted(size);
}
[[gnu::noinline]] void operator delete(void* block) noexcept { std::free(block); }
[[gnu::noinline]] void operator delete(void* block, std::size_t) noexcept { std::free(block); }

namespace anydraft {

int64_t allocations_so_far() { return allocations; }  // for other tests of this program
// The `count`th allocation from here on fails; 0: none does.
void fail_allocation_in(int64_t count) { until_failure = count; }

namespace {

TEST(Allocations, NoneForADistributionOrADraw) {
  constexpr int64_t kVocab = 50257, kRows = 4;
  std::vector<float> logits(kVocab * kRows);
  std::mt19937_64 random(1);
  std::normal_distribution<float> normal(0, 2);
  for (float& x : logits) x = normal(random);
  const RowsView rows{logits.data(), DType::kFloat32, kRows, kVocab, kVocab};
  const std::vector<double> uniforms(kRows, 0.3);
  std::vector<int64_t> tokens(kRows);
  std::vector<double> totals;
  set_threads(1);
  for (const SamplingParams& params :
       {SamplingParams{}, SamplingParams{0.7, 50, 0.95, 0.01, {}}, SamplingParams{1, 0, 0.9, 0, {}},
        SamplingParams{1, 20000, 0.9, 0, {}}, SamplingParams{0, 0, 1, 0, {}}}) {
    int64_t before = 0;
    for (int turn = 0; turn < 3; ++turn) {
      if (turn == 2) before = allocations;
      for (int64_t row = 0; row < kRows; ++row) make_distribution(rows, row, params, &totals);
      sample_rows(rows, params, uniforms.data(), tokens.data());
    }
    EXPECT_EQ(allocations - before, 0) << params.top_k << ' ' << params.top_p;
  }
  set_threads(0);
}

// A batch of trees, every verifier: the second call of a size allocates nothing.
TEST(Allocations, NoneForAVerification) {
  constexpr int64_t kVocab = 20000, kNodes = 7, kRequests = 2;
  std::vector<float> logits(kVocab * kNodes * kRequests), draft(kVocab * kNodes);
  std::mt19937_64 random(2);
  std::normal_distribution<float> normal(0, 2);
  for (float& x : logits) x = normal(random);
  for (float& x : draft) x = normal(random);
  const std::vector<int32_t> tokens = {0, 1, 2, 3, 4, 5, 6, 0, 1, 2, 3, 4, 5, 6};
  const std::vector<int32_t> tree = {-1, 0, 0, 1, 1, 2, 2, -1, 0, 0, 1, 1, 2, 2};
  const std::vector<int32_t> chain = {-1, 0, 1, 2, 3, 4, 5, -1, 0, 1, 2, 3, 4, 5};
  const std::vector<int32_t> offsets = {0, 7, 14},
                             rows = {0, 1, 2, 3, 4, 5, 6, 0, 1, 2, 3, 4, 5, 6};
  const SamplingParams params;
  set_threads(1);
  for (const VerifierInfo& info : verifiers()) {
    for (ProposalKind kind :
         {ProposalKind::kOneHot, ProposalKind::kIid, ProposalKind::kWithoutReplacement,
          ProposalKind::kSpecHub, ProposalKind::kGreedyK}) {
      if (!takes(info.verifier, kind)) continue;
      const std::vector<ProposalKind> kinds(2 * kNodes, kind);
      VerifyRequest request;
      const auto& parents = info.verifier == Verifier::kBlock ? chain : tree;
      request.trees = {tokens.data(), parents.data(), offsets.data(), kRequests, nullptr};
      request.target_logits = {logits.data(), DType::kFloat32, 2 * kNodes, kVocab, kVocab};
      request.draft_logits = {draft.data(), DType::kFloat32, kNodes, kVocab, kVocab};
      request.proposals.kinds = kinds.data();
      request.proposals.rows = rows.data();
      request.sampling = request.draft_sampling = &params;
      request.verifier = info.verifier;
      VerifyResult result;
      int64_t before = 0;
      for (uint32_t turn = 0; turn < 40; ++turn) {
        const uint32_t positions[] = {turn % 20, turn % 20};
        request.uniforms.positions = positions;
        if (turn == 20) before = allocations;
        verify(request, result);
      }
      EXPECT_EQ(allocations - before, 0) << info.name << ' ' << name_of(kind);
    }
  }
  set_threads(0);
}

}  // namespace
}  // namespace anydraft
