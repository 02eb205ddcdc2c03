// Chooses who runs next: warps in turn, and of a warp the lanes at one place. Also barriers.
#include <algorithm>
#include <functional>
#include <stdexcept>

#include "machine.h"

namespace ptx {
namespace {

struct Need {
  uint32_t rows32 = 0, rows64 = 0, predicates = 0, local = 0;
};

// The rows and local memory of a function and of the deepest calls below it. Recursion is refused:
// its depth is unknown, to ptxas too, and a device would reserve too little.
Need need_of(const Module& module, int index, std::map<int, Need>& known) {
  const auto [found, is_new] = known.insert({index, {}});
  if (!is_new) {
    if (found->second.rows64 == 0) {
      throw std::runtime_error("[ptx] calls in a circle: " + module.functions[index].name);
    }
    return found->second;
  }
  const Function& one = module.functions[index];
  int end = static_cast<int>(module.code.size());
  for (const Function& other : module.functions) {
    if (other.first > one.first) end = std::min(end, other.first);
  }
  Need deepest;
  for (int at = one.first; at < end; ++at) {
    if (module.code[at].op != Op::kCall) continue;
    const Need need = need_of(module, module.calls[module.code[at].target].function, known);
    deepest.rows32 = std::max(deepest.rows32, need.rows32);
    deepest.rows64 = std::max(deepest.rows64, need.rows64);
    deepest.predicates = std::max(deepest.predicates, need.predicates);
    deepest.local = std::max(deepest.local, need.local);
  }
  // One row more than needed, because 0 marks a function whose need is being computed.
  return known[index] = {one.rows32 + deepest.rows32, one.rows64 + deepest.rows64 + 1,
                         one.predicates + deepest.predicates, one.frame + deepest.local};
}

}  // namespace

Machine::Machine(GlobalMemory& memory, Findings& findings, const Launch& launch, uint64_t seed)
    : memory_(memory),
      findings_(findings),
      launch_(launch),
      module_(*launch.module),
      random_(seed),
      in_order_(seed == 0) {
  std::map<int, Need> known;
  const auto index = static_cast<int>(launch.function - module_.functions.data());
  const Need need = need_of(module_, index, known);
  most32_ = need.rows32, most64_ = need.rows64, most_predicates_ = need.predicates;
  most_local_ = need.local;
  if (most_local_ > kLocalStride) throw std::runtime_error("[ptx] too much local memory a thread");
}

std::unique_ptr<Cluster> Machine::start_cluster(uint32_t index) {
  auto cluster = std::make_unique<Cluster>();
  const uint32_t blocks = launch_.cluster, threads = launch_.threads;
  const size_t shared = shared_stride();
  cluster->blocks.resize(blocks);
  Cell cell;
  cell.lives = 15;
  cluster->shared.assign(blocks * shared, 0xa5);
  cluster->shared_cells.assign(blocks * shared / 4, cell);
  cluster->local.assign(static_cast<size_t>(blocks) * threads * most_local_, 0xa5);
  cluster->local_written.assign(cluster->local.size(), 0);
  cluster->live = blocks * threads;
  for (uint32_t rank = 0; rank < blocks; ++rank) {
    Block& block = cluster->blocks[rank];
    block.cluster = cluster.get();
    block.index = index * blocks + rank, block.rank = rank, block.live = threads;
    block.warps.resize((threads + kLanes - 1) / kLanes);
    for (size_t w = 0; w < block.warps.size(); ++w) {
      Warp& warp = block.warps[w];
      warp.block = &block;
      warp.first_thread = static_cast<uint32_t>(w * kLanes);
      const uint32_t lanes = std::min<uint32_t>(threads - warp.first_thread, kLanes);
      warp.everyone = warp.live = warp.running = lanes == kLanes ? kAll : (1u << lanes) - 1;
      warp.place.fill(launch_.function->first);
      warp.frame.fill({launch_.function, 0, 0, 0, 0});
      warp.rows32.assign(static_cast<size_t>(most32_ + 1) * kLanes, 0xbadbad00u);
      warp.rows64.assign(static_cast<size_t>(most64_ + 1) * kLanes, 0xbadbad00badbad00u);
      warp.predicates.assign(most_predicates_ + 1, 0xbadbad00u);
    }
  }
  return cluster;
}

Ended Machine::run() {
  std::vector<uint32_t> order(launch_.blocks / launch_.cluster);
  for (uint32_t i = 0; i < order.size(); ++i) order[i] = i;
  if (!in_order_) std::shuffle(order.begin(), order.end(), random_);
  const size_t at_once = in_order_ ? 1 : 1 + random(3);
  std::vector<std::unique_ptr<Cluster>> resident;
  size_t next = 0;
  std::vector<Warp*> able;
  while (next < order.size() || !resident.empty()) {
    while (resident.size() < at_once && next < order.size()) {
      resident.push_back(start_cluster(order[next++]));
    }
    able.clear();
    for (const auto& cluster : resident) {
      for (Block& block : cluster->blocks) {
        for (Warp& warp : block.warps) {
          if (warp.running) able.push_back(&warp);
        }
      }
    }
    if (able.empty()) {
      tell_deadlock(resident);
      break;
    }
    // Runs each of them once, in random order.
    if (!in_order_) std::shuffle(able.begin(), able.end(), random_);
    for (Warp* warp : able) {
      if (warp->running) run_warp(*warp, in_order_ ? 1 << 20 : 1 + static_cast<int>(random(4000)));
    }
    if (stuck_) break;
    resident.erase(std::remove_if(resident.begin(), resident.end(),
                                  [](const auto& cluster) { return cluster->live == 0; }),
                   resident.end());
  }
  return ended_;
}

// Chooses the lanes that are furthest behind; with a seed, sometimes any others.
uint32_t Machine::choose_group(Warp& warp) {
  int chosen = __builtin_ctz(warp.running);
  if (!in_order_ && random(4) == 0) {
    chosen = static_cast<int>(random(kLanes));
    while (!(warp.running >> chosen & 1)) chosen = (chosen + 1) % kLanes;
  } else {
    for_lanes(warp.running, [&](int lane) {
      const size_t deep = warp.calls[lane].size(), deepest = warp.calls[chosen].size();
      if (deep > deepest || (deep == deepest && warp.place[lane] < warp.place[chosen])) {
        chosen = lane;
      }
    });
  }
  uint32_t group = 0;
  for_lanes(warp.running, [&](int lane) {
    if (warp.place[lane] == warp.place[chosen] && warp.frame[lane] == warp.frame[chosen]) {
      group |= 1u << lane;
    }
  });
  // Lanes may part even where no branch makes them.
  if (!in_order_ && random(64) == 0) {
    const uint32_t some = group & static_cast<uint32_t>(random_());
    if (some) return some;
  }
  return group;
}

// The next place where other lanes of the warp wait.
int Machine::stop_of(const Warp& warp, uint32_t group) const {
  const int at = warp.place[__builtin_ctz(group)];
  int stop = static_cast<int>(module_.code.size());
  for_lanes(warp.running & ~group, [&](int lane) {
    if (warp.place[lane] > at) stop = std::min(stop, warp.place[lane]);
  });
  return stop;
}

void Machine::run_warp(Warp& warp, int budget) {
  while (budget > 0 && warp.running && !stuck_) {
    const uint32_t group = choose_group(warp);
    const int leader = __builtin_ctz(group);
    const Frame& frame = warp.frame[leader];
    Lanes lanes{warp.rows32.data() + static_cast<size_t>(frame.rows32) * kLanes,
                warp.rows64.data() + static_cast<size_t>(frame.rows64) * kLanes,
                warp.predicates.data() + frame.predicates, &module_};
    int at = warp.place[leader];
    const bool parted = group != warp.running;
    const int stop = stop_of(warp, group);
    // Lanes that were chosen at random run for a short while only.
    int left = !in_order_ && parted ? std::min(budget, 1 + static_cast<int>(random(200))) : budget;
    budget -= left;
    bool goes_on = true;
    while (goes_on && left-- > 0) {
      const Instruction& one = module_.code[at];
      uint32_t mask = group;
      if (one.guard >= 0) {
        const uint32_t holds = lanes.predicates[one.guard];
        mask &= one.guard_negated ? ~holds : holds;
      }
      if (one.op == Op::kCompute) {
        if (mask) one.compute(lanes, one, mask);
        ++at;
      } else if (one.op == Op::kBranch && (mask == 0 || mask == group)) {
        at = mask ? one.target : at + 1;
        goes_on = !parted;
      } else if (!control(warp, lanes, one, at, group, mask)) {
        at = -1;  // `control` has set the places
        break;
      }
      if (at == stop) break;
    }
    if (at >= 0) for_lanes(group, [&](int lane) { warp.place[lane] = at; });
    budget += std::max(left, 0);
  }
}

// ---- Barriers
// ------------------------------------------------------------------------------------
void Machine::release_barrier(Block& block) {
  if (block.at_barrier == 0 || block.at_barrier < block.live) return;
  uint32_t all = kAll;
  Op op = Op::kBranch;
  for (Warp& warp : block.warps) {
    if (!warp.at_barrier) continue;
    const int lane = __builtin_ctz(warp.at_barrier), place = warp.place[lane];
    for_lanes(warp.at_barrier, [&](int other) {
      if (warp.place[other] != place) {
        report("lanes of a warp at different barriers", warp, other, warp.place[other],
               "another at " + module_.where(place));
      }
    });
    if (op != Op::kBranch && op != module_.code[place].op) {
      report("warps at barriers of different kinds", warp, lane, place);
    }
    op = module_.code[place].op;
    if ((warp.barrier_vote & warp.at_barrier) != warp.at_barrier) all = 0;
  }
  ++block.barriers;
  block.at_barrier = 0;
  for (Warp& warp : block.warps) {
    for_lanes(warp.at_barrier, [&](int lane) {
      const Instruction& one = module_.code[warp.place[lane]];
      if (one.op == Op::kBarrierAnd) {
        Lanes lanes{nullptr, nullptr, warp.predicates.data() + warp.frame[lane].predicates,
                    &module_};
        set_predicate(lanes, one.d[0], 1u << lane, all);
      }
      ++warp.place[lane];
    });
    warp.running |= warp.at_barrier;
    warp.at_barrier = 0;
  }
}

void Machine::release_cluster(Cluster& cluster) {
  if (cluster.arrived < cluster.live || cluster.live == 0) return;
  cluster.arrived = 0;
  ++cluster.phase;
  for (Block& block : cluster.blocks) {
    for (Warp& warp : block.warps) {
      for_lanes(warp.at_cluster, [&](int lane) {
        warp.cluster_passed[lane] = cluster.phase;
        ++warp.place[lane];
      });
      warp.running |= warp.at_cluster;
      warp.at_cluster = 0;
    }
  }
}

void Machine::tell_deadlock(const std::vector<std::unique_ptr<Cluster>>& clusters) {
  stuck_ = true;
  for (const auto& cluster : clusters) {
    for (const Block& block : cluster->blocks) {
      for (const Warp& warp : block.warps) {
        std::map<int, int> standing;
        for_lanes(warp.live, [&](int lane) { ++standing[warp.place[lane]]; });
        for (const auto& [place, lanes] : standing) {
          const int lane = __builtin_ctz(warp.live);
          report("deadlock", warp, lane, place,
                 std::to_string(lanes) + " lanes of warp " +
                     std::to_string(warp.first_thread / kLanes) + " wait here");
        }
      }
    }
  }
}

void Machine::report(const std::string& what, const Warp& warp, int lane, int at,
                     const std::string& more) {
  findings_.add(what, &module_, at,
                "block " + std::to_string(warp.block->index) + " thread " +
                    std::to_string(warp.first_thread + lane) + (more.empty() ? "" : ", ") + more);
}

}  // namespace ptx
