// Instructions that involve more than one lane: branches, calls, shuffles, barriers, and the order
// of grids.
#include <cstring>

#include "machine.h"

namespace ptx {

bool Machine::control(Warp& warp, Lanes& lanes, const Instruction& one, int& at, uint32_t group,
                      uint32_t mask) {
  const auto stand = [&](int place) {
    for_lanes(group, [&](int lane) { warp.place[lane] = place; });
  };
  switch (one.op) {
    case Op::kLoad:
      load(warp, lanes, one, at, mask);
      break;
    case Op::kStore:
      store(warp, lanes, one, at, mask);
      break;
    case Op::kAtomicAdd:
      atomic_add(warp, lanes, one, at, mask);
      break;
    case Op::kFence:
      fence(warp, mask);
      break;
    case Op::kAddress:
      address_of_variable(warp, lanes, one, mask);
      break;
    case Op::kSpecial:
      special(warp, lanes, one, mask);
      break;
    case Op::kMapa:
      for_lanes(mask, [&](int lane) {
        const uint64_t from = row64(lanes, one.s[0])[lane] - kSharedBase;
        const uint64_t rank = row32(lanes, one.s[1])[lane];
        if (rank >= launch_.cluster || from >= kMostBlocks * kSharedStride) {
          report("mapa outside of the cluster's shared memory", warp, lane, at);
        }
        row64(lanes, one.d[0])[lane] = kSharedBase + rank * kSharedStride + from % kSharedStride;
      });
      break;
    case Op::kLaunchDependents:
      if (mask & ~warp.waited) ended_.all_waited_first = false;
      break;
    case Op::kGridWait:
      warp.waited |= mask;
      ended_.some_waited |= mask != 0;
      break;
    case Op::kBranch:  // some lanes branch, others do not
      stand(at + 1);
      for_lanes(mask, [&](int lane) { warp.place[lane] = one.target; });
      return false;
    case Op::kCall:
      stand(at + 1);
      call(warp, one, at, mask);
      return false;
    case Op::kReturn:
      stand(at + 1);
      give_back(warp, at, mask);
      return false;
    case Op::kShuffle:
      if (shuffle(warp, lanes, one, at, group)) break;
      return false;
    case Op::kBarrier:
    case Op::kBarrierAnd:
      stand(at);
      barrier(warp, lanes, one, at, group);
      return false;
    case Op::kClusterArrive:
      stand(at + 1);
      cluster_barrier(warp, one, at, group);
      return false;
    case Op::kClusterWait:
      stand(at);
      cluster_barrier(warp, one, at, group);
      return false;
    case Op::kCompute:
      break;
  }
  ++at;
  return true;
}

void Machine::call(Warp& warp, const Instruction& one, int at, uint32_t mask) {
  const CallSite& site = module_.calls[one.target];
  const Function& callee = module_.functions[site.function];
  Cluster& cluster = *warp.block->cluster;
  for_lanes(mask, [&](int lane) {
    Frame& frame = warp.frame[lane];
    warp.calls[lane].push_back({frame, at + 1});
    const Function& caller = *frame.function;
    const uint32_t mine = frame.local, theirs = frame.local + caller.frame;
    frame = {&callee, frame.rows32 + caller.rows32, frame.rows64 + caller.rows64,
             frame.predicates + caller.predicates, theirs};
    const size_t base = local_of(warp, lane) * most_local_;
    std::memset(&cluster.local_written[base + theirs], 0, callee.frame);
    for (size_t i = 0; i < site.arguments.size() && i < callee.parameters.size(); ++i) {
      const Variable& to = callee.parameters[i];
      std::memcpy(&cluster.local[base + theirs + to.offset],
                  &cluster.local[base + mine + site.arguments[i]], to.size);
      std::memcpy(&cluster.local_written[base + theirs + to.offset],
                  &cluster.local_written[base + mine + site.arguments[i]], to.size);
    }
    warp.place[lane] = callee.first;
  });
}

void Machine::give_back(Warp& warp, int at, uint32_t mask) {
  Cluster& cluster = *warp.block->cluster;
  uint32_t leaving = 0;
  for_lanes(mask, [&](int lane) {
    if (warp.calls[lane].empty()) {
      leaving |= 1u << lane;
      return;
    }
    const Return back = warp.calls[lane].back();
    warp.calls[lane].pop_back();
    const Frame& frame = warp.frame[lane];
    const CallSite& site = module_.calls[module_.code[back.to - 1].target];
    const size_t base = local_of(warp, lane) * most_local_;
    for (size_t i = 0; i < site.results.size(); ++i) {
      const Variable& from = frame.function->results[i];
      std::memcpy(&cluster.local[base + back.frame.local + site.results[i]],
                  &cluster.local[base + frame.local + from.offset], from.size);
      std::memcpy(&cluster.local_written[base + back.frame.local + site.results[i]],
                  &cluster.local_written[base + frame.local + from.offset], from.size);
    }
    std::memset(&cluster.local_written[base + frame.local], 0, frame.function->frame);
    warp.frame[lane] = back.frame;
    warp.place[lane] = back.to;
  });
  if (leaving) lanes_exit(warp, leaving, at);
}

void Machine::lanes_exit(Warp& warp, uint32_t mask, int at) {
  Block& block = *warp.block;
  Cluster& cluster = *block.cluster;
  uint32_t unsettled = 0;
  for_lanes(mask, [&](int lane) {
    const uint32_t passed = warp.cluster_passed[lane];
    if (warp.cluster_arrived[lane] > cluster.phase) --cluster.arrived;  // an ended lane has arrived
    if (passed > block.clusters_passed_at_exit) block.clusters_passed_at_exit = passed;
    ++unsettled;
  });
  warp.live &= ~mask, warp.running &= ~mask;
  block.live -= unsettled, cluster.live -= unsettled;
  if (block.live == 0 && block.last_foreign > block.clusters_passed_at_exit) {
    report("a block ends while another may still use its shared memory", warp, __builtin_ctz(mask),
           at);
  }
  release_barrier(block);
  release_cluster(cluster);
}

// Lanes wait until all members of the shuffle have arrived.
bool Machine::shuffle(Warp& warp, Lanes& lanes, const Instruction& one, int at, uint32_t group) {
  const int leader = __builtin_ctz(group);
  const uint32_t members = row32(lanes, one.s[3])[leader];
  for_lanes(group, [&](int lane) {
    if (row32(lanes, one.s[3])[lane] != members || !(members >> lane & 1)) {
      report("a shuffle's members differ, or leave out one that calls", warp, lane, at);
    }
  });
  uint32_t there = group;
  for_lanes(warp.at_shuffle, [&](int lane) {
    if (warp.place[lane] == at && warp.frame[lane] == warp.frame[leader]) there |= 1u << lane;
  });
  const uint32_t awaited = members & warp.live;
  if ((there & awaited) != awaited) {
    for_lanes(group, [&](int lane) { warp.place[lane] = at; });
    warp.at_shuffle |= group, warp.running &= ~group;
    return false;
  }
  uint32_t values[kLanes], results[kLanes], found = 0;
  std::memcpy(values, row32(lanes, one.s[0]), sizeof values);
  for_lanes(there, [&](int lane) {
    const uint32_t by = row32(lanes, one.s[1])[lane] & 31, clamp = row32(lanes, one.s[2])[lane];
    const uint32_t segment = clamp >> 8 & 31, last = (lane & segment) | (clamp & 31 & ~segment);
    uint32_t from = lane ^ by;
    const bool inside = from <= last;
    if (!inside) from = lane;
    if (inside) found |= 1u << lane;
    if (!(there >> from & 1)) report("a shuffle reads a lane that is not there", warp, lane, at);
    results[lane] = values[from];
  });
  for_lanes(there, [&](int lane) { row32(lanes, one.d[0])[lane] = results[lane]; });
  set_predicate(lanes, one.d[1], there, found);
  const uint32_t woken = warp.at_shuffle & there;
  if (!woken) return true;
  warp.at_shuffle &= ~woken, warp.running |= woken;
  for_lanes(there, [&](int lane) { warp.place[lane] = at + 1; });
  return false;
}

void Machine::barrier(Warp& warp, Lanes& lanes, const Instruction& one, int at, uint32_t mask) {
  if (one.guard >= 0) report("a barrier under a guard", warp, __builtin_ctz(mask), at);
  if (one.op == Op::kBarrierAnd) {
    warp.barrier_vote = (warp.barrier_vote & ~mask) | (predicate(lanes, one.s[0]) & mask);
  } else {
    warp.barrier_vote |= mask;
  }
  warp.at_barrier |= mask, warp.running &= ~mask;
  warp.block->at_barrier += static_cast<uint32_t>(__builtin_popcount(mask));
  release_barrier(*warp.block);
}

void Machine::cluster_barrier(Warp& warp, const Instruction& one, int at, uint32_t mask) {
  Cluster& cluster = *warp.block->cluster;
  if (one.op == Op::kClusterArrive) {
    for_lanes(mask, [&](int lane) {
      if (warp.cluster_arrived[lane] > warp.cluster_passed[lane]) {
        report("arrived twice at a barrier of the cluster", warp, lane, at);
      }
      warp.cluster_arrived[lane] = warp.cluster_passed[lane] + 1;
      ++cluster.arrived;
    });
    return release_cluster(cluster);
  }
  for_lanes(mask, [&](int lane) {
    if (warp.cluster_arrived[lane] != warp.cluster_passed[lane] + 1) {
      report("waits for a barrier of the cluster without having arrived", warp, lane, at);
    }
    if (cluster.phase >= warp.cluster_arrived[lane]) {  // all had arrived already
      warp.cluster_passed[lane] = warp.cluster_arrived[lane];
      ++warp.place[lane];
      return;
    }
    warp.at_cluster |= 1u << lane, warp.running &= ~(1u << lane);
  });
}

void Machine::special(Warp& warp, Lanes& lanes, const Instruction& one, uint32_t mask) {
  for_lanes(mask, [&](int lane) {
    const uint32_t values[] = {warp.first_thread + lane, launch_.threads, warp.block->index,
                               launch_.blocks, static_cast<uint32_t>(lane)};
    row32(lanes, one.d[0])[lane] = values[one.offset];
  });
}

}  // namespace ptx
