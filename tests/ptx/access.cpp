// Loads, stores and atomics: from addresses to bytes, with all checks.
#include <cstdio>
#include <cstring>

#include "machine.h"

namespace ptx {
namespace {
std::string hex(uint64_t value) {
  char text[32];
  std::snprintf(text, sizeof text, "0x%llx", static_cast<unsigned long long>(value));
  return text;
}
const char* name_of(Touch how) {
  return how == Touch::kRead ? "read" : how == Touch::kWrite ? "write" : "atomic";
}
}  // namespace

Toucher Machine::toucher(const Warp& warp, int lane) const {
  const Block& block = *warp.block;
  Toucher by;
  by.now = {launch_.grid, block.index, warp.first_thread + static_cast<uint32_t>(lane),
            block.barriers, warp.cluster_arrived[lane]};
  by.passed_barriers = block.barriers;
  by.passed_cluster_barriers = warp.cluster_passed[lane];
  by.cluster = launch_.cluster;
  const Known& known = warp.waited >> lane & 1 ? launch_.after : launch_.before;
  by.known_grid = known.upto, by.also_grid = known.also;
  by.published = &block.published;
  return by;
}

uint8_t* Machine::reach_local(Warp& warp, int lane, uint64_t offset, unsigned size, Touch how,
                              int at) {
  const uint64_t thread = offset / kLocalStride, mine = local_of(warp, lane);
  const uint64_t place = offset % kLocalStride;
  const Frame& frame = warp.frame[lane];
  const uint64_t end = frame.local + frame.function->frame;
  if (thread != mine || place + size > end) {
    report(thread != mine ? "local memory of another thread" : "local memory past the frame", warp,
           lane, at, "offset " + hex(place));
    return nullptr;
  }
  Cluster& cluster = *warp.block->cluster;
  const size_t base = mine * most_local_ + place;
  bool unwritten = how == Touch::kRead;  // no byte of it was written; some may be padding
  for (unsigned i = 0; i < size; ++i) {
    if (cluster.local_written[base + i]) unwritten = false;
    if (how != Touch::kRead) cluster.local_written[base + i] = 1;
  }
  if (unwritten) {
    report("local memory read but never written", warp, lane, at, "offset " + hex(place));
  }
  return &cluster.local[base];
}

uint8_t* Machine::reach_shared(Warp& warp, int lane, uint64_t offset, unsigned size, Touch how,
                               int at) {
  Cluster& cluster = *warp.block->cluster;
  const uint64_t rank = offset / kSharedStride;
  const uint64_t place = offset % kSharedStride;
  if (rank >= launch_.cluster || place + size > launch_.function->shared) {
    report("shared memory outside of what lives", warp, lane, at, "offset " + hex(offset));
    return nullptr;
  }
  Block& owner = cluster.blocks[rank];
  if (&owner != warp.block) {
    if (warp.cluster_passed[lane] == 0) {
      report("shared memory of a block that may not have begun", warp, lane, at);
    }
    if (owner.live == 0) report("shared memory of a block that has ended", warp, lane, at);
    owner.last_foreign = std::max(owner.last_foreign, warp.cluster_arrived[lane] + 1);
  }
  const Toucher by = toucher(warp, lane);
  const size_t at_cell = rank * shared_stride() + place;
  if (const char* fault = touch(cluster.shared_cells.data(), at_cell, size, how, by)) {
    report(std::string("shared memory ") + fault, warp, lane, at,
           std::string(name_of(how)) + " at offset " + hex(place) + " of block " +
               std::to_string(owner.index));
  }
  return &cluster.shared[at_cell];
}

// The place of the bytes, or null where there are none of that kind.
uint8_t* Machine::reach(Warp& warp, int lane, uint64_t address, unsigned size, Touch how,
                        Space space, int at) {
  if (address % size != 0) {
    report("misaligned", warp, lane, at, hex(address) + ", " + std::to_string(size) + " bytes");
    return nullptr;
  }
  const auto allowed = [&](Space found) {
    // Parameters of a function lie in its frame, which is local memory.
    if (space == Space::kGeneric || space == found) return;
    if (space == Space::kParam && found == Space::kLocal) return;
    report("an address of another space than the instruction's", warp, lane, at, hex(address));
  };
  if (address >= kLocalBase && address < kLocalBase + kMostBlocks * 1024 * kLocalStride) {
    allowed(Space::kLocal);
    return reach_local(warp, lane, address - kLocalBase, size, how, at);
  }
  if (address >= kSharedBase && address < kSharedBase + kMostBlocks * kSharedStride) {
    allowed(Space::kShared);
    return reach_shared(warp, lane, address - kSharedBase, size, how, at);
  }
  if (address >= kParamBase && address < kParamBase + kParamSize) {
    allowed(Space::kParam);
    if (how != Touch::kRead || address + size > kParamBase + launch_.parameters.size()) {
      report("a kernel's parameters written, or read past", warp, lane, at, hex(address));
      return nullptr;
    }
    return const_cast<uint8_t*>(launch_.parameters.data()) + (address - kParamBase);
  }
  if (memory_.holds(address, size)) {
    allowed(Space::kGlobal);
    size_t offset;
    Cell* cells = memory_.cells(address, offset);
    if (const char* fault = touch(cells, offset, size, how, toucher(warp, lane))) {
      report(std::string("global memory ") + fault, warp, lane, at,
             std::string(name_of(how)) + " of " + std::to_string(size) + " at " + hex(address));
    }
    return reinterpret_cast<uint8_t*>(address);
  }
  report("an address of no memory", warp, lane, at, hex(address));
  return nullptr;
}

void Machine::addresses(Warp& warp, Lanes& lanes, const Instruction& one, uint32_t mask) {
  if (!one.base_is_variable) {
    const uint32_t* narrow = one.base_is_narrow ? row32(lanes, one.s[0]) : nullptr;
    const uint64_t* wide = narrow ? nullptr : row64(lanes, one.s[0]);
    for_lanes(mask, [&](int lane) {
      address_[lane] = (narrow ? narrow[lane] : wide[lane]) + static_cast<uint64_t>(one.offset);
    });
    return;
  }
  const auto offset = static_cast<uint64_t>(one.offset);
  for_lanes(mask, [&](int lane) {
    if (one.space == Space::kLocal) {
      address_[lane] =
          kLocalBase + local_of(warp, lane) * kLocalStride + warp.frame[lane].local + offset;
    } else if (one.space == Space::kShared) {
      address_[lane] = kSharedBase + warp.block->rank * kSharedStride + offset;
    } else {
      address_[lane] = kParamBase + offset;
    }
  });
}

void Machine::address_of_variable(Warp& warp, Lanes& lanes, const Instruction& one, uint32_t mask) {
  addresses(warp, lanes, one, mask);
  for_lanes(mask, [&](int lane) {
    if (one.rows == Rows::k64) {
      row64(lanes, one.d[0])[lane] = address_[lane];
    } else {
      row32(lanes, one.d[0])[lane] = static_cast<uint32_t>(address_[lane]);
    }
  });
}

void Machine::load(Warp& warp, Lanes& lanes, const Instruction& one, int at, uint32_t mask) {
  addresses(warp, lanes, one, mask);
  const unsigned size = one.bytes * one.count;
  for_lanes(mask, [&](int lane) {
    const uint8_t* from = reach(warp, lane, address_[lane], size, Touch::kRead, one.space, at);
    for (int i = 0; i < one.count; ++i) {
      uint64_t value = 0;
      if (from) std::memcpy(&value, from + i * one.bytes, one.bytes);
      if (one.is_signed) {
        const int unused = 64 - 8 * one.bytes;
        value = static_cast<uint64_t>(static_cast<int64_t>(value << unused) >> unused);
      }
      if (one.rows == Rows::k64) {
        row64(lanes, one.d[i])[lane] = value;
      } else {
        row32(lanes, one.d[i])[lane] = static_cast<uint32_t>(value);
      }
    }
  });
  if (one.space != Space::kParam && one.space != Space::kLocal) warp.fenced &= ~mask;
}

void Machine::store(Warp& warp, Lanes& lanes, const Instruction& one, int at, uint32_t mask) {
  addresses(warp, lanes, one, mask);
  const unsigned size = one.bytes * one.count;
  for_lanes(mask, [&](int lane) {
    uint8_t* to = reach(warp, lane, address_[lane], size, Touch::kWrite, one.space, at);
    if (!to) return;
    for (int i = 0; i < one.count; ++i) {
      const Operand from = i == 3 ? one.d[3] : one.s[1 + i];
      const uint64_t value =
          one.rows == Rows::k64 ? row64(lanes, from)[lane] : row32(lanes, from)[lane];
      std::memcpy(to + i * one.bytes, &value, one.bytes);
    }
  });
  if (one.space != Space::kParam && one.space != Space::kLocal) warp.fenced &= ~mask;
}

// After a fence, an atomic publishes what the thread knows. Before a fence, it receives what others
// published at that address.
void Machine::atomic_add(Warp& warp, Lanes& lanes, const Instruction& one, int at, uint32_t mask) {
  addresses(warp, lanes, one, mask);
  const Block& block = *warp.block;
  for_lanes(mask, [&](int lane) {
    const uint64_t address = address_[lane];
    uint8_t* to = reach(warp, lane, address, 8, Touch::kAtomic, one.space, at);
    if (!to) return;
    uint64_t before;
    std::memcpy(&before, to, sizeof before);
    const uint64_t after = before + row64(lanes, one.s[1])[lane];
    std::memcpy(to, &after, sizeof after);
    row64(lanes, one.d[0])[lane] = before;
    const uint32_t thread = warp.first_thread + lane;
    if (warp.fenced >> lane & 1) {
      Publications& there = published_[address];
      for (const auto& [other, known] : block.published) {
        if (known.to == thread || known.since < block.barriers) there.insert({other, known});
      }
      there[block.index] = {warp.barriers_at_fence[lane], thread, 0, 0};
    }
    const auto there = published_.find(address);
    if (there == published_.end()) return;
    Publications& seen = seen_[static_cast<uint64_t>(block.index) << 32 | thread];
    for (const auto& [other, known] : there->second) seen[other] = known;
  });
}

void Machine::fence(Warp& warp, uint32_t mask) {
  Block& block = *warp.block;
  warp.fenced |= mask;
  for_lanes(mask, [&](int lane) {
    warp.barriers_at_fence[lane] = block.barriers;
    const uint32_t thread = warp.first_thread + lane;
    const auto seen = seen_.find(static_cast<uint64_t>(block.index) << 32 | thread);
    if (seen == seen_.end()) return;
    for (const auto& [other, known] : seen->second) {
      if (other == block.index) continue;
      Published& mine = block.published[other];
      if (mine.barriers < known.barriers || mine.thread != known.thread) {
        mine = {known.barriers, known.thread, thread, block.barriers};
      }
    }
    seen_.erase(seen);
  });
}

}  // namespace ptx
