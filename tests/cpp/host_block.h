// A block of threads as cuda/block.cuh asks for, on the host: one std::thread a lane.
//
// Under ASan run the tests by ctest, a process each. All of them in one start more threads than the
// system has numbers for, and LeakSanitizer (gcc 12, clang 19) takes a live thread for an ended one
// that had its number: it does not find the live one's thread_locals, and says that they leak.
#pragma once

#include <pthread.h>

#include <cstring>
#include <memory>
#include <thread>
#include <vector>

#include "cuda/block.cuh"

namespace anydraft::testing {

class Team {
 public:
  explicit Team(int count) : threads(count), slots(2 * count) {
    pthread_barrier_init(&barrier_, nullptr, static_cast<unsigned>(count));
  }
  ~Team() { pthread_barrier_destroy(&barrier_); }
  Team(const Team&) = delete;
  Team& operator=(const Team&) = delete;

  void wait() { pthread_barrier_wait(&barrier_); }

  const int threads;
  std::vector<uint64_t> slots;

 private:
  pthread_barrier_t barrier_;
};

class Block {
 public:
  Block(Team& team, int thread) : team_(team), thread_(thread) {}
  int thread() const { return thread_; }
  int threads() const { return team_.threads; }
  void sync() { team_.wait(); }

  template <class T, class Op>
  T of_warp(T value, Op op) {
    T lanes[detail::kLanes];
    const uint64_t* slots = show(value) + thread_ / detail::kLanes * detail::kLanes;
    for (int l = 0; l < detail::kLanes; ++l) memcpy(&lanes[l], &slots[l], sizeof(T));
    for (int step = detail::kLanes / 2; step > 0; step /= 2) {
      for (int l = 0; l < step; ++l) lanes[l] = op(lanes[l], lanes[l + step]);
    }
    return lanes[0];
  }

  template <class T>
  T exchange(T value, int mask) {
    memcpy(&value, show(value) + (thread_ ^ mask), sizeof value);
    return value;
  }

  uint64_t add(uint64_t* slot, uint64_t value) {
    return __atomic_fetch_add(slot, value, __ATOMIC_RELAXED);
  }
  uint64_t publish(uint64_t* slot) { return __atomic_fetch_add(slot, 1, __ATOMIC_ACQ_REL); }

 private:
  // Every thread's value. Two sets of slots take turns: who writes to one again has waited for all
  // who read it.
  template <class T>
  const uint64_t* show(const T& value) {
    turn_ = 1 - turn_;
    uint64_t* slots = team_.slots.data() + turn_ * team_.threads;
    memcpy(&slots[thread_], &value, sizeof value);
    sync();
    return slots;
  }

  Team& team_;
  int thread_, turn_ = 0;
};

// Calls play(block, scratch) on every thread of a block.
template <class Scratch = detail::Scratch, class Play>
void run_block(int threads, Play play) {
  Team team(threads);
  const auto scratch = std::make_unique<Scratch>();
  std::vector<std::thread> lanes;
  for (int t = 0; t < threads; ++t) {
    lanes.emplace_back([&, t] {
      Block block(team, t);
      play(block, *scratch);
    });
  }
  for (std::thread& lane : lanes) lane.join();
}

}  // namespace anydraft::testing
