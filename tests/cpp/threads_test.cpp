// The built-in threads and the executor hook (make test-cpp SANITIZE=thread).
#include "anydraft/threads.h"

#include <gtest/gtest.h>

#include <atomic>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "anydraft/error.h"
#include "anydraft/verify.h"
#include "base/parallel.h"

namespace anydraft {
namespace {

using detail::parallel_for;

struct Threads : testing::Test {
  ~Threads() override {
    set_executor({});
    set_threads(0);
  }
};

std::vector<int64_t> squares(int64_t count) {
  std::vector<int64_t> out(count);
  parallel_for(count, [&](int64_t i) { out[i] += i * i; });
  return out;
}

std::vector<int64_t> expected_squares(int64_t count) {
  std::vector<int64_t> out;
  for (int64_t i = 0; i < count; ++i) out.push_back(i * i);
  return out;
}

TEST_F(Threads, EveryIndexOnceForAnyCount) {
  for (int count : {1, 2, 5, 3, 16}) {
    set_threads(count);
    for (int64_t size : {0, 1, 2, 3, 1000}) EXPECT_EQ(squares(size), expected_squares(size));
  }
}

TEST_F(Threads, SeveralAreUsed) {
  set_threads(2);
  std::atomic<int> inside{0};
  parallel_for(2, [&](int64_t) {  // ends only when both are inside
    ++inside;
    while (inside < 2) std::this_thread::yield();
  });
  EXPECT_EQ(inside, 2);
}

TEST_F(Threads, NestedLoopsAndOtherCallersRunInline) {
  set_threads(4);
  std::atomic<int64_t> calls{0};
  std::vector<std::thread> callers;
  for (int caller = 0; caller < 3; ++caller) {
    callers.emplace_back([&] {
      for (int turn = 0; turn < 20; ++turn) {
        parallel_for(10, [&](int64_t) { parallel_for(10, [&](int64_t) { ++calls; }); });
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  EXPECT_EQ(calls, 3 * 20 * 10 * 10);
}

TEST_F(Threads, TheLowestFailureIsThrownAndThePoolLivesOn) {
  for (int count : {1, 4}) {
    set_threads(count);
    for (int turn = 0; turn < 20; ++turn) {
      try {
        parallel_for(100, [](int64_t i) {
          if (i >= 7) throw std::runtime_error(std::to_string(i));
        });
        FAIL();
      } catch (const std::runtime_error& error) {
        EXPECT_STREQ(error.what(), "7");
      }
    }
    EXPECT_EQ(squares(50), expected_squares(50));
  }
}

TEST_F(Threads, LittleWorkStaysOnTheCaller) {
  set_threads(4);
  const auto caller = std::this_thread::get_id();
  parallel_for(8, [&](int64_t) { EXPECT_EQ(std::this_thread::get_id(), caller); }, 1000);
}

TEST_F(Threads, AnExecutorTakesTheWorkAndMayRunItInAnyOrder) {
  set_threads(3);
  int64_t seen = 0;
  set_executor([&](int64_t count, const std::function<void(int64_t)>& task) {
    seen += count;
    for (int64_t i = count - 1; i >= 0; --i) task(i);
  });
  EXPECT_EQ(squares(20), expected_squares(20));
  EXPECT_EQ(seen, 20);
  const auto fail = [](int64_t i) {
    if (i % 2) throw std::runtime_error(std::to_string(i));
  };
  EXPECT_THROW(parallel_for(6, fail), std::runtime_error);
  set_threads(1);
  EXPECT_EQ(squares(20), expected_squares(20));
  EXPECT_EQ(seen, 26);
}

// Two roots whose likeliest tokens are `first` and `second`, greedily.
std::vector<int64_t> likeliest(int64_t first, int64_t second) {
  constexpr int64_t kVocab = 40000;
  std::vector<float> logits(2 * kVocab);
  logits[first] = logits[kVocab + second] = 1;
  const std::vector<int32_t> tokens = {0, 0}, parents = {-1, -1}, offsets = {0, 1, 2};
  const std::vector<ProposalKind> kinds(2, ProposalKind::kOneHot);
  const SamplingParams greedy{0, 0, 1, 0, {}};
  VerifyRequest request;
  request.trees = {tokens.data(), parents.data(), offsets.data(), 2, nullptr};
  request.target_logits = {logits.data(), DType::kFloat32, 2, kVocab, kVocab};
  request.proposals.kinds = kinds.data();
  request.sampling = request.draft_sampling = &greedy;
  return verify(request).next_tokens;
}

TEST_F(Threads, AnExecutorMayVerifySomethingElseWhileAVerificationWaits) {
  set_threads(2);
  int depth = 0;
  std::vector<int64_t> inner;
  set_executor([&](int64_t count, const std::function<void(int64_t)>& task) {
    for (int64_t i = 0; i < count; ++i) {
      task(i);
      if (i == 0 && depth++ == 0) inner = likeliest(7, 8);
    }
  });
  EXPECT_EQ(likeliest(5, 6), (std::vector<int64_t>{5, 6}));
  EXPECT_EQ(inner, (std::vector<int64_t>{7, 8}));
}

TEST_F(Threads, RefusesANegativeCount) {
  EXPECT_THROW(set_threads(-1), Error);
  EXPECT_GE(threads(), 1);
}

}  // namespace
}  // namespace anydraft
