// Runs a grid: clusters of blocks of warps. Each lane has its own place in the code. The lanes of a
// warp at one place run together; a seed chooses which ones run, and how far.
#pragma once

#include <array>
#include <map>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "findings.h"
#include "memory.h"
#include "program.h"

namespace ptx {

// Which grids have ended: all up to `upto`, and `also`.
struct Known {
  uint32_t upto = 0, also = 0;
};

struct Launch {
  const Module* module = nullptr;
  const Function* function = nullptr;
  uint32_t blocks = 0, threads = 0, cluster = 1;
  uint32_t grid = 0;  // its number, from 1
  std::vector<uint8_t> parameters;
  Known before, after;  // known before griddepcontrol.wait, and after it
};
// How a grid used griddepcontrol.
struct Ended {
  bool some_waited = false, all_waited_first = true;  // before the next may begin
};

struct Frame {
  const Function* function = nullptr;
  uint32_t rows32 = 0, rows64 = 0, predicates = 0, local = 0;
  bool operator==(const Frame& other) const {
    return function == other.function && rows32 == other.rows32 && rows64 == other.rows64 &&
           predicates == other.predicates;
  }
};
struct Return {
  Frame frame;
  int to;
};

struct Block;
struct Cluster;

struct Warp {
  Block* block = nullptr;
  uint32_t first_thread = 0, everyone = 0;  // everyone: lanes that exist
  uint32_t live = 0, running = 0, at_shuffle = 0, at_barrier = 0, at_cluster = 0;
  uint32_t waited = 0, fenced = 0;
  std::array<int, kLanes> place{};
  std::array<Frame, kLanes> frame{};
  std::array<std::vector<Return>, kLanes> calls;
  std::array<uint32_t, kLanes> cluster_arrived{}, cluster_passed{}, barriers_at_fence{};
  std::vector<uint32_t> rows32, predicates;
  std::vector<uint64_t> rows64;
  uint32_t barrier_vote = 0;
};

struct Block {
  Cluster* cluster = nullptr;
  uint32_t index = 0, rank = 0;  // in the grid, in the cluster
  std::vector<Warp> warps;
  uint32_t live = 0, at_barrier = 0, barriers = 0, clusters_passed_at_exit = 0;
  uint32_t last_foreign =
      0;  // touch of its shared memory by another block, in cluster barriers + 1
  std::map<uint32_t, Published> published;
};

struct Cluster {
  std::vector<Block> blocks;
  std::vector<uint8_t> shared, local, local_written;
  std::vector<Cell> shared_cells;
  uint32_t live = 0, arrived = 0, phase = 0;
};

// What blocks have published at one address, by block.
using Publications = std::map<uint32_t, Published>;

class Machine {
 public:
  Machine(GlobalMemory& memory, Findings& findings, const Launch& launch, uint64_t seed);
  Ended run();

 private:
  // schedule.cpp
  std::unique_ptr<Cluster> start_cluster(uint32_t index);
  void run_warp(Warp& warp, int budget);
  uint32_t choose_group(Warp& warp);
  int stop_of(const Warp& warp, uint32_t group) const;
  void release_barrier(Block& block);
  void release_cluster(Cluster& cluster);
  void lanes_exit(Warp& warp, uint32_t mask, int at);
  void tell_deadlock(const std::vector<std::unique_ptr<Cluster>>& clusters);
  // control.cpp; false: the group must be chosen again
  bool control(Warp& warp, Lanes& lanes, const Instruction& one, int& at, uint32_t group,
               uint32_t mask);
  void call(Warp& warp, const Instruction& one, int at, uint32_t mask);
  void give_back(Warp& warp, int at, uint32_t mask);
  bool shuffle(Warp& warp, Lanes& lanes, const Instruction& one, int at, uint32_t group);
  void barrier(Warp& warp, Lanes& lanes, const Instruction& one, int at, uint32_t mask);
  void cluster_barrier(Warp& warp, const Instruction& one, int at, uint32_t mask);
  // access.cpp
  void load(Warp& warp, Lanes& lanes, const Instruction& one, int at, uint32_t mask);
  void store(Warp& warp, Lanes& lanes, const Instruction& one, int at, uint32_t mask);
  void atomic_add(Warp& warp, Lanes& lanes, const Instruction& one, int at, uint32_t mask);
  void fence(Warp& warp, uint32_t mask);
  void addresses(Warp& warp, Lanes& lanes, const Instruction& one, uint32_t mask);
  uint8_t* reach(Warp& warp, int lane, uint64_t address, unsigned size, Touch how, Space space,
                 int at);
  uint8_t* reach_local(Warp& warp, int lane, uint64_t offset, unsigned size, Touch how, int at);
  uint8_t* reach_shared(Warp& warp, int lane, uint64_t offset, unsigned size, Touch how, int at);
  Toucher toucher(const Warp& warp, int lane) const;
  void address_of_variable(Warp& warp, Lanes& lanes, const Instruction& one, uint32_t mask);
  void special(Warp& warp, Lanes& lanes, const Instruction& one, uint32_t mask);
  void report(const std::string& what, const Warp& warp, int lane, int at,
              const std::string& more = "");

  uint32_t random(uint32_t below) { return static_cast<uint32_t>(random_() % below); }
  size_t shared_stride() const { return (launch_.function->shared + 3) / 4 * 4; }
  uint64_t local_of(const Warp& warp, int lane) const {
    return (static_cast<uint64_t>(warp.block->rank) * launch_.threads + warp.first_thread + lane);
  }

  GlobalMemory& memory_;
  Findings& findings_;
  const Launch& launch_;
  const Module& module_;
  Ended ended_;
  std::mt19937_64 random_;
  bool in_order_;  // seed 0: lanes stay together as long as they can
  bool stuck_ = false;
  uint32_t most32_ = 0, most64_ = 0, most_predicates_ = 0, most_local_ = 0;
  std::map<uint64_t, Publications> published_;  // by address
  std::map<uint64_t, Publications> seen_;       // by thread of the grid: since its last fence
  std::array<uint64_t, kLanes> address_{};
};

}  // namespace ptx
