// The kernel's body on a host block, one std::thread a lane: the same tokens as the CPU engine, for
// any number of warps. Under TSan (make test-cpp SANITIZE=thread) a missing sync() is a data race.
#include <gtest/gtest.h>

#include <atomic>
#include <random>
#include <thread>

#include "anydraft/error.h"
#include "anydraft/verify.h"
#include "cuda/block_rows.cuh"
#include "rows/cpu_rows.h"
#include "verify/check.h"

namespace anydraft {
namespace {

using detail::kLanes;

struct Team {
  explicit Team(int count) : threads(count), slots(count) {}
  const int threads;
  std::vector<double> slots;
  std::atomic<int> arrived{0}, round{0};

  void wait() {
    const int seen = round.load();
    if (arrived.fetch_add(1) + 1 == threads) {
      arrived.store(0);
      round.fetch_add(1);
    } else {
      while (round.load() == seen) std::this_thread::yield();
    }
  }
};

class HostBlock {
 public:
  HostBlock(Team& team, int thread) : team_(team), thread_(thread) {}
  int thread() const { return thread_; }
  int threads() const { return team_.threads; }
  void sync() { team_.wait(); }
  double fold(double value) {
    team_.slots[thread_] = value;
    sync();
    double lanes[kLanes];
    std::copy_n(team_.slots.begin() + thread_ / kLanes * kLanes, kLanes, lanes);
    sync();
    for (int step = kLanes / 2; step > 0; step /= 2) {
      for (int l = 0; l < step; ++l) lanes[l] += lanes[l + step];
    }
    return lanes[0];
  }

 private:
  Team& team_;
  int thread_;
};

// A ragged batch over a vocabulary: chains, and trees whose nodes have up to three children.
struct Case {
  std::vector<int32_t> tokens, parents, offsets = {0}, law_rows;
  std::vector<LawKind> kinds;
  std::vector<float> target, draft;
  VerifyRequest request;

  Case(int64_t vocab, int requests, bool one_hot, uint64_t seed) {
    std::mt19937_64 random(seed);
    std::normal_distribution<float> normal;
    for (int i = 0; i < requests; ++i) {
      const int nodes = 1 + static_cast<int>(random() % 6);
      for (int node = 0; node < nodes; ++node) {
        tokens.push_back(static_cast<int32_t>(random() % std::min<int64_t>(vocab, 5)));
        const int back = i % 2 ? 1 : 1 + static_cast<int>(random() % std::min(node + 1, 3));
        parents.push_back(node == 0 ? -1 : std::max(node - back, 0));
        kinds.push_back(one_hot || random() % 3 == 0 ? LawKind::kOneHot : LawKind::kRow);
        law_rows.push_back(static_cast<int32_t>(law_rows.size()));
      }
      offsets.push_back(static_cast<int32_t>(tokens.size()));
    }
    for (size_t i = 0; i < tokens.size() * vocab; ++i) {
      target.push_back(2 * normal(random) + (i % vocab < 5 ? 3 : 0));
      draft.push_back(target.back() + normal(random));
    }
    const auto nodes = static_cast<int64_t>(tokens.size());
    request.trees = {tokens.data(), parents.data(), offsets.data(), requests};
    request.target_logits = {target.data(), DType::kFloat32, nodes, vocab, vocab};
    request.draft_logits = {draft.data(), DType::kFloat32, nodes, vocab, vocab};
    request.laws = {kinds.data(), law_rows.data()};
    request.coins.seed = seed;
    request.sampling.temperature = request.draft_sampling.temperature = 0.8;
    if (one_hot) request.verifier = Verifier::kMatch;
  }
};

// As verify_cuda does, with a host block a request. Fills bad_row.
VerifyResult play_on_blocks(const VerifyRequest& request, int threads, std::vector<int32_t>& bad) {
  const size_t nodes = request.trees.nodes(), requests = request.trees.requests;
  std::vector<int32_t> first(nodes), next(nodes);
  std::vector<double> z(nodes);
  std::vector<uint32_t> keys(requests), positions(requests, 0);
  std::vector<detail::Walked> walked(requests);
  bad.resize(requests);
  for (size_t i = 0; i < requests; ++i) {
    const int32_t begin = request.trees.offsets[i];
    keys[i] = static_cast<uint32_t>(i);
    detail::link_children(request.trees.parents + begin, request.trees.offsets[i + 1] - begin,
                          first.data() + begin, next.data() + begin);
  }
  const detail::Batch batch{request.trees.tokens,
                            request.trees.parents,
                            first.data(),
                            next.data(),
                            request.laws.kinds,
                            request.laws.rows,
                            z.data(),
                            nullptr,
                            nullptr,
                            request.trees.offsets,
                            keys.data(),
                            positions.data(),
                            request.coins.seed,
                            request.target_logits,
                            request.draft_logits,
                            request.sampling.temperature,
                            request.draft_sampling.temperature,
                            request.verifier,
                            walked.data(),
                            bad.data()};
  VerifyResult result;
  result.offsets.push_back(0);
  for (size_t i = 0; i < requests; ++i) {
    Team team(threads);
    detail::Scratch scratch;
    std::vector<std::thread> lanes;
    for (int t = 0; t < threads; ++t) {
      lanes.emplace_back([&, t] {
        HostBlock block(team, t);
        detail::play_request(block, scratch, batch, static_cast<int64_t>(i));
      });
    }
    for (std::thread& lane : lanes) lane.join();
    detail::append_path(request, static_cast<int64_t>(i), walked[i], result);
  }
  return result;
}

void expect_same(const VerifyRequest& request, int threads) {
  std::vector<int32_t> bad;
  const VerifyResult block = play_on_blocks(request, threads, bad);
  const VerifyResult cpu = verify(request);
  EXPECT_EQ(block.accepted, cpu.accepted);
  EXPECT_EQ(block.offsets, cpu.offsets);
  EXPECT_EQ(block.next_tokens, cpu.next_tokens);
  for (int32_t row : bad) EXPECT_EQ(row, -1);
}

TEST(Block, SaysWhatTheCpuSays) {
  for (int64_t vocab : {1, 7, 1000, 4097, 9000}) {
    for (bool one_hot : {false, true}) {
      SCOPED_TRACE(testing::Message() << vocab << (one_hot ? " one_hot" : " row"));
      expect_same(Case(vocab, vocab > 2000 ? 6 : 20, one_hot, 11 + vocab).request, 64);
    }
  }
}

TEST(Block, DoesNotDependOnTheNumberOfWarps) {
  const Case small(5000, 2, false, 3);
  for (int threads : {32, 96}) expect_same(small.request, threads);
}

TEST(Block, Greedy) {
  Case greedy(300, 12, false, 5);
  greedy.request.sampling.temperature = greedy.request.draft_sampling.temperature = 0;
  expect_same(greedy.request, 32);
}

TEST(Block, HalfPrecision) {
  Case rows(500, 8, false, 9);
  std::vector<uint16_t> target, draft;
  const auto cut = [](const std::vector<float>& from, std::vector<uint16_t>& to) {
    for (float value : from) {
      uint32_t bits;
      memcpy(&bits, &value, sizeof bits);
      to.push_back(static_cast<uint16_t>(bits >> 16));
    }
  };
  cut(rows.target, target);
  cut(rows.draft, draft);
  rows.request.target_logits.data = target.data();
  rows.request.draft_logits.data = draft.data();
  rows.request.target_logits.dtype = rows.request.draft_logits.dtype = DType::kBFloat16;
  expect_same(rows.request, 32);
}

TEST(Block, NamesABadRow) {
  Case bad(100, 3, false, 5);
  const int32_t row = bad.offsets[1];  // the root of request 1 is always read
  bad.target[row * 100 + 50] = NAN;
  std::vector<int32_t> rows;
  play_on_blocks(bad.request, 32, rows);
  EXPECT_EQ(rows, (std::vector<int32_t>{-1, row, -1}));
  EXPECT_THROW(verify(bad.request), Error);
}

}  // namespace
}  // namespace anydraft
