// The kernels' bodies that verify, on a host block, one std::thread a lane: the same tokens as the
// CPU engine, for any number of warps. Under TSan (make test-cpp SANITIZE=thread) a missing sync()
// is a data race.
#include <gtest/gtest.h>

#include <array>
#include <cstddef>

#include "block_case.h"
#include "block_plays.h"
#include "rows/cpu_rows.h"

namespace anydraft {
namespace {

using testing::Block;
using testing::Case;

// What verify_cuda_async gives, by a host block a request.
struct Played {
  std::vector<int32_t> accepted, counts, where;
  std::vector<int64_t> next_tokens;
  std::vector<CudaStatus> status;
  std::vector<uint8_t> degenerate;
  std::vector<double> acceptance;
};

// Rows are read beforehand by warps of their own, or by the blocks when needed.
enum class Reading { kBefore, kLazy };

template <class Use>
Played on_block(const VerifyRequest& request, Use use, Reading reading = Reading::kLazy) {
  const size_t nodes = request.trees.nodes(), requests = request.trees.requests;
  std::vector<DistributionParams> target, draft;
  for (size_t i = 0; i < requests; ++i) {
    target.push_back(distribution_params(request.target_params(i)));
    draft.push_back(distribution_params(request.draft_params(i)));
  }
  CudaVerifyRequest all{request.trees,     request.trees.nodes(), request.target_logits,
                        request.proposals, request.draft_logits,  target.data(),
                        draft.data(),      request.verifier,      request.uniforms};
  all.lazy = reading == Reading::kLazy;
  Played played;
  played.accepted.resize(nodes, 7);
  played.counts.resize(requests);
  played.where.resize(requests);
  played.next_tokens.resize(requests);
  played.status.resize(requests);
  played.degenerate.resize(requests);
  played.acceptance.resize(nodes, -1);
  std::vector<std::max_align_t> workspace(detail::workspace_of(all) / sizeof(std::max_align_t) + 1);
  const detail::Batch batch =
      detail::batch_of(all,
                       {played.accepted.data(), played.counts.data(), played.next_tokens.data(),
                        played.status.data(), played.where.data(), played.degenerate.data(),
                        request.want_acceptance ? played.acceptance.data() : nullptr},
                       workspace.data());
  use(batch);
  return played;
}

Played play_on_blocks(const VerifyRequest& request, int threads, Reading reading = Reading::kLazy) {
  const auto play = [&](const detail::Batch& batch) { testing::play_batch(batch, threads); };
  return on_block(request, play, reading);
}

void expect_same(const VerifyRequest& request, int threads, Reading reading = Reading::kLazy) {
  VerifyRequest with_status = request;
  with_status.report_status = true;
  const VerifyResult cpu = verify(with_status);
  const Played block = play_on_blocks(request, threads, reading);
  std::vector<int32_t> accepted;
  for (size_t i = 0; i < block.status.size(); ++i) {
    SCOPED_TRACE(::testing::Message() << "request " << i << ": " << cpu.status[i]);
    EXPECT_EQ(block.status[i] == CudaStatus::kFine, cpu.status[i].empty());
    EXPECT_EQ(block.next_tokens[i], cpu.next_tokens[i]);
    EXPECT_EQ(block.degenerate[i] && cpu.status[i].empty(), cpu.degenerate[i]);
    EXPECT_EQ(block.counts[i], cpu.offsets[i + 1] - cpu.offsets[i]);
    const auto begin = block.accepted.begin() + request.trees.offsets[i];
    const auto end = block.accepted.begin() + request.trees.offsets[i + 1];
    accepted.insert(accepted.end(), begin, begin + block.counts[i]);
    EXPECT_EQ(std::count(begin + block.counts[i], end, -1), end - begin - block.counts[i]);
    for (int32_t node = request.trees.offsets[i];
         request.want_acceptance && cpu.status[i].empty() && node < request.trees.offsets[i + 1];
         ++node) {
      EXPECT_EQ(block.acceptance[node], cpu.acceptance[node]) << "node " << node;
    }
  }
  EXPECT_EQ(accepted, cpu.accepted);
}

class EachVerifier : public ::testing::TestWithParam<VerifierInfo> {};

TEST_P(EachVerifier, SaysWhatTheCpuSays) {
  for (int64_t vocab : {1, 7, 1000, 4097, 9000}) {
    SCOPED_TRACE(::testing::Message() << "vocabulary " << vocab);
    expect_same(Case(GetParam().verifier, vocab, vocab > 2000 ? 4 : 16, 11 + vocab).request, 64);
  }
}

TEST_P(EachVerifier, DoesNotDependOnTheNumberOfWarps) {
  const Case small(GetParam().verifier, 5000, 3, 3);
  for (int threads : {32, 96}) expect_same(small.request, threads);
}

TEST_P(EachVerifier, RowsReadBeforehand) {
  for (int64_t vocab : {7, 4097, 9000}) {
    const Case ahead(GetParam().verifier, vocab, 4, 21 + vocab);
    expect_same(ahead.request, 64, Reading::kBefore);
  }
}

TEST_P(EachVerifier, GivenUniforms) {
  Case given(GetParam().verifier, 200, 20, 4);
  given.give_uniforms();
  expect_same(given.request, 32);
}

// To the bit; also where only a row that the verifier does not come to is bad.
TEST_P(EachVerifier, AcceptanceOfNodes) {
  if (GetParam().verifier == Verifier::kMultipath) return;
  for (int64_t vocab : {7, 4097}) {
    Case told(GetParam().verifier, vocab, 6, 17 + vocab);
    told.request.want_acceptance = true;
    expect_same(told.request, 64);
    expect_same(told.request, 64, Reading::kBefore);
    for (size_t node = 0; node < told.tokens.size(); node += 3) told.target[node * vocab] = NAN;
    expect_same(told.request, 32);
  }
}

TEST_P(EachVerifier, Greedy) {
  Case greedy(GetParam().verifier, 300, 12, 5);
  greedy.params.temperature = 0;
  expect_same(greedy.request, 32);
  greedy.draft_params.temperature = 0;  // most drafts have no mass now
  expect_same(greedy.request, 32);
}

TEST_P(EachVerifier, HalfPrecision) {
  for (DType dtype : {DType::kBFloat16, DType::kFloat16}) {
    Case rows(GetParam().verifier, 501, 8, 9);
    rows.halve(dtype);
    expect_same(rows.request, 32);
    expect_same(rows.request, 32, Reading::kBefore);
  }
}

TEST_P(EachVerifier, Filters) {
  std::mt19937_64 random(12);
  for (int64_t vocab : {7, 300, 6000}) {
    Case filtered(GetParam().verifier, vocab, 4, 13 + vocab);
    std::vector<SamplingParams> each(4);
    for (SamplingParams& params : each) {
      params.temperature = random() % 5 ? 0.5 + 0.2 * static_cast<double>(random() % 5) : 0;
      params.top_k = std::array{0, 0, 3, 50, 2000}[random() % 5];
      params.top_p = std::array{1.0, 1.0, 0.3, 0.95, 0.999999}[random() % 5];
      params.min_p = std::array{0.0, 0.0, 0.0, 1e-3, 0.4}[random() % 5];
    }
    filtered.request.params_per_request = true;
    filtered.request.sampling = filtered.request.draft_sampling = each.data();
    for (float& x : filtered.target) x = random() % 3 ? x : std::round(x);  // ties
    expect_same(filtered.request, 32);
    expect_same(filtered.request, 64, Reading::kBefore);
  }
}

INSTANTIATE_TEST_SUITE_P(Block, EachVerifier, ::testing::ValuesIn(verifiers()),
                         [](const auto& info) { return std::string(info.param.name); });

// What is left after each rejected child of a root, in every request.
template <class Rows>
std::vector<double> sums_of(Rows& rows, double weight) {
  std::vector<double> sums;
  detail::Residual residual = rows.residual(0, weight);
  for (int32_t c = rows.first_child(0); c >= 0; c = rows.next_sibling(c)) {
    rows.reject(residual, c);
    sums.push_back(residual.sum);
  }
  return sums;
}

TEST(Block, SumsAreTheCpusToTheBit) {
  for (Verifier verifier : {Verifier::kTopDown, Verifier::kMatch}) {
    Case rows(verifier, 9000, 12, 41);
    for (double weight : {1.0, 0.7}) {
      for (int64_t i = 0; i < 12; ++i) {
        detail::CpuScratch scratch;
        detail::CpuRows cpu(rows.request, i, scratch);
        std::vector<double> block_sums;
        on_block(rows.request, [&](const detail::Batch& batch) {
          testing::run_block(64, [&](Block& block, detail::Scratch& shared) {
            detail::BlockOps<Block> ops(block, shared);
            detail::BlockRows<Block> play(ops, batch, i);
            const std::vector<double> mine = sums_of(play, weight);
            if (ops.thread() == 0) block_sums = mine;
          });
        });
        EXPECT_EQ(block_sums, sums_of(cpu, weight));
      }
    }
  }
}

TEST(Block, DrawsBehindRejectedLastChildrenAreDeferred) {
  Case rows(Verifier::kTopDown, 5000, 48, 43);
  std::fill(rows.kinds.begin(), rows.kinds.end(), ProposalKind::kIid);
  int waiting = 0, last = 0;
  on_block(rows.request, [&](const detail::Batch& batch) {
    testing::play_batch(batch, 64);
    for (int64_t i = 0; i < 48; ++i) {
      const detail::DeferredDraw& deferred = batch.workspace.deferred[i];
      waiting += deferred.waits;
      last += deferred.waits && deferred.swept == 2 && batch.result.next_tokens[i] >= 0;
    }
  });
  EXPECT_GT(waiting, 5);
  EXPECT_EQ(last, waiting);
}

TEST(Block, NamesABadRow) {
  Case bad(Verifier::kTopDown, 100, 3, 5);
  const int32_t row = bad.offsets[1];  // the root of request 1 is always read
  bad.target[row * 100 + 50] = NAN;
  const Played played = play_on_blocks(bad.request, 32);
  EXPECT_EQ(played.status[1], CudaStatus::kTargetRow);
  EXPECT_EQ(played.where[1], row);
  expect_same(bad.request, 32);
}

TEST(Block, FollowsNothingMalformed) {
  const auto status_of = [](auto spoil) {
    Case one(Verifier::kTopDown, 50, 1, 8);
    spoil(one);
    return play_on_blocks(one.request, 32).status[0];
  };
  EXPECT_EQ(status_of([](Case&) {}), CudaStatus::kFine);
  const auto last = [](auto& array) -> auto& { return array.back(); };
  EXPECT_EQ(status_of([&](Case& c) { last(c.parents) = 99; }), CudaStatus::kMalformed);
  EXPECT_EQ(status_of([&](Case& c) { last(c.tokens) = 50; }), CudaStatus::kMalformed);
  EXPECT_EQ(status_of([&](Case& c) { last(c.paths) = 0; }), CudaStatus::kMalformed);
  EXPECT_EQ(status_of([&](Case& c) { last(c.paths) = 65537; }), CudaStatus::kMalformed);
  EXPECT_EQ(status_of([&](Case& c) { c.kinds[last(c.parents)] = static_cast<ProposalKind>(77); }),
            CudaStatus::kMalformed);
  EXPECT_EQ(status_of([&](Case& c) {
              c.kinds[last(c.parents)] = ProposalKind::kIid;
              c.proposal_rows[last(c.parents)] = 99;
            }),
            CudaStatus::kMalformed);
}

TEST(Block, MaskedRows) {
  Case masked(Verifier::kTraversal, 9000, 4, 6);
  for (size_t i = 0; i < masked.target.size(); ++i) {
    if (i % 9000 > 4000 && i % 9000 < 8500) masked.target[i] = i % 2 ? -INFINITY : -3.4e38f;
    if (i % 9000 < 100) masked.target[i] += i % 3 ? 0 : -150;  // below the row's reach, or not
  }
  expect_same(masked.request, 64);
  expect_same(masked.request, 64, Reading::kBefore);
}

}  // namespace
}  // namespace anydraft
