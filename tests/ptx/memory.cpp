#include "memory.h"

#include <sys/mman.h>

#include <cstring>
#include <stdexcept>

namespace ptx {

bool happened_before(const Stamp& stamp, const Toucher& by) {
  if (stamp.grid != by.now.grid) {
    return stamp.grid <= by.known_grid || stamp.grid == by.also_grid;
  }
  if (stamp.block == kSeveral) return false;
  if (stamp.thread == kSeveralOfCluster) {
    return stamp.block / by.cluster == by.now.block / by.cluster &&
           stamp.cluster_barriers < by.passed_cluster_barriers;
  }
  if (stamp.block == by.now.block) {
    if (stamp.thread == by.now.thread || stamp.barriers < by.passed_barriers) return true;
    return stamp.cluster_barriers < by.passed_cluster_barriers;
  }
  if (stamp.block / by.cluster == by.now.block / by.cluster &&
      stamp.cluster_barriers < by.passed_cluster_barriers) {
    return true;
  }
  const auto found = by.published->find(stamp.block);
  if (found == by.published->end()) return false;
  const Published& told = found->second;
  const bool covered = stamp.barriers < told.barriers || stamp.thread == told.thread;
  return covered && (told.to == by.now.thread || told.since < by.passed_barriers);
}

namespace {

// Keeps one reader for each word, or one stamp that stands for several readers of the same phase.
void note_read(Cell& cell, uint8_t bytes, const Toucher& by) {
  Stamp& read = cell.read;
  // A reader of other bytes of the word replaces the earlier one: there is room for one stamp.
  if ((cell.read_bytes & bytes) == 0 || happened_before(read, by)) {
    read = by.now;
    cell.read_bytes = bytes;
    return;
  }
  cell.read_bytes |= bytes;
  if (read.grid != by.now.grid) return;  // the earlier reader's grid may still run: it stays
  if (read.block == kSeveral || read.block / by.cluster != by.now.block / by.cluster) {
    read.block = kSeveral;
  } else if (read.block != by.now.block) {
    read.thread = kSeveralOfCluster;
  } else if (read.thread != by.now.thread && read.thread != kSeveralOfCluster) {
    read.thread = kSeveral;
  }
  if (read.barriers < by.now.barriers) read.barriers = by.now.barriers;
  if (read.cluster_barriers < by.now.cluster_barriers) {
    read.cluster_barriers = by.now.cluster_barriers;
  }
}

const char* touch_word(Cell& cell, uint8_t bytes, Touch how, const Toucher& by) {
  if ((cell.lives & bytes) != bytes) return "outside of what lives";
  const char* fault = nullptr;
  const bool both_atomic = how == Touch::kAtomic && cell.by_atomic;
  if ((cell.wrote_bytes & bytes) && !both_atomic && !happened_before(cell.wrote, by)) {
    const bool other_grid = cell.wrote.grid != by.now.grid;
    if (how == Touch::kRead) {
      fault = other_grid ? "read while the kernel that writes it may still run"
                         : "read while another thread may still write it";
    } else {
      fault = other_grid ? "written while the kernel before may still write it"
                         : "written by two threads at once";
    }
  }
  if (how == Touch::kRead) {
    note_read(cell, bytes, by);
    return fault;
  }
  if (!fault && (cell.read_bytes & bytes) && !happened_before(cell.read, by)) {
    fault = cell.read.grid != by.now.grid ? "written while the kernel before may still read it"
                                          : "written while another thread may still read it";
  }
  cell.wrote = by.now;
  cell.wrote_bytes = bytes;
  cell.written |= bytes;
  cell.by_atomic = how == Touch::kAtomic;
  return fault;
}

}  // namespace

const char* touch(Cell* cells, size_t offset, unsigned size, Touch how, const Toucher& by) {
  const char* fault = nullptr;
  bool unwritten = how != Touch::kWrite;  // none of it was: a part may be a structure's padding
  while (size > 0) {
    const unsigned first = offset % 4, here = size < 4 - first ? size : 4 - first;
    const auto bytes = static_cast<uint8_t>(((1u << here) - 1) << first);
    if (cells[offset / 4].written & bytes) unwritten = false;
    if (const char* one = touch_word(cells[offset / 4], bytes, how, by)) fault = one;
    offset += here, size -= here;
  }
  return unwritten && !fault ? "read but never written" : fault;
}

// ---- Global memory
// -------------------------------------------------------------------------------
namespace {
void* reserve(size_t bytes) {
  void* at = mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (at == MAP_FAILED) throw std::runtime_error("[ptx] no workspace for device memory");
  return at;
}
}  // namespace

GlobalMemory::GlobalMemory()
    : base_(reinterpret_cast<uint64_t>(reserve(kSize))),
      cells_(static_cast<Cell*>(reserve(kSize / 4 * sizeof(Cell)))) {}

void* GlobalMemory::allocate(size_t bytes) {
  if (bytes == 0) return nullptr;
  uint64_t at = base_ + kApart;
  for (const auto& [begin, size] : live_) {
    if (begin - at >= bytes + kApart) break;
    at = (begin + size + 2 * kApart - 1) / kApart * kApart;
  }
  if (at + bytes + kApart > base_ + kSize) return nullptr;
  live_[at] = bytes;
  std::memset(reinterpret_cast<void*>(at), 0xa5, bytes);
  for (size_t i = 0; i < bytes; i += 4) {
    Cell& cell = cells_[(at - base_ + i) / 4];
    cell = Cell{};
    cell.lives = static_cast<uint8_t>(bytes - i >= 4 ? 15 : (1u << (bytes - i)) - 1);
  }
  return reinterpret_cast<void*>(at);
}

bool GlobalMemory::free(void* at) {
  if (!at) return true;
  const auto found = live_.find(reinterpret_cast<uint64_t>(at));
  if (found == live_.end()) return false;
  for (size_t i = 0; i < found->second; i += 4) cells_[(found->first - base_ + i) / 4] = Cell{};
  live_.erase(found);
  return true;
}

bool GlobalMemory::host_touches(const void* at, size_t bytes, bool to_device) {
  const auto begin = reinterpret_cast<uint64_t>(at);
  if (bytes == 0) return true;
  auto found = live_.upper_bound(begin);
  if (found == live_.begin()) return false;
  --found;
  if (begin + bytes > found->first + found->second) return false;
  for (uint64_t i = begin; to_device && i < begin + bytes; ++i) {
    Cell& cell = cells_[(i - base_) / 4];
    cell.written |= 1 << (i - base_) % 4;
    cell.wrote_bytes = cell.read_bytes = 0;
  }
  return true;
}

}  // namespace ptx
