// Memory with a shadow that records for each word what is allocated, what was written, and who read
// and wrote it last.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <vector>

namespace ptx {

// Who touched a word, and how many barriers of its block and its cluster it had arrived at.
struct Stamp {
  uint32_t grid = 0, block = 0, thread = 0;  // grid 0: the host
  uint32_t barriers = 0, cluster_barriers = 0;
};
// Stand for several readers: threads of a block (or blocks of the grid), and threads of a cluster.
constexpr uint32_t kSeveral = 0xffffffffu, kSeveralOfCluster = 0xfffffffeu;

struct Cell {  // of 4 bytes
  Stamp wrote, read;
  uint8_t wrote_bytes = 0, read_bytes = 0, lives = 0, written = 0;
  bool by_atomic = false;
};

// What another block published, and which thread of this block received it.
struct Published {
  uint32_t barriers, thread, to, since;
};

// The thread that touches memory, and what is certain to have happened before.
struct Toucher {
  Stamp now;
  uint32_t passed_barriers = 0, passed_cluster_barriers = 0;
  uint32_t cluster = 1;                                      // blocks in it
  uint32_t known_grid = 0;                                   // this and all before have ended
  uint32_t also_grid = 0;                                    // this one too
  const std::map<uint32_t, Published>* published = nullptr;  // by block
};

bool happened_before(const Stamp& stamp, const Toucher& by);

enum class Touch : uint8_t { kRead, kWrite, kAtomic };

// The fault of touching `size` bytes at `cells[offset / 4]`; null: none.
const char* touch(Cell* cells, size_t offset, unsigned size, Touch how, const Toucher& by);

// ---- Addresses
// -----------------------------------------------------------------------------------
constexpr uint64_t kSharedBase = 0x01000000, kSharedStride = 0x40000, kMostBlocks = 8;
constexpr uint64_t kParamBase = 0x08000000, kParamSize = 4096;
constexpr uint64_t kLocalBase = 0x100000000, kLocalStride = 0x10000;

// Global memory: one arena, with gaps between allocations.
class GlobalMemory {
 public:
  GlobalMemory();
  void* allocate(size_t bytes);
  bool free(void* at);  // false: no allocation begins there
  bool holds(uint64_t address, size_t size) const {
    return address >= base_ && address + size <= base_ + kSize;
  }
  // Whether the host may copy all of these bytes; `to_device`: marks them as written.
  bool host_touches(const void* at, size_t bytes, bool to_device);
  Cell* cells(uint64_t address, size_t& offset) const {
    offset = address - base_;
    return cells_;
  }
  size_t live() const { return live_.size(); }

 private:
  static constexpr size_t kSize = size_t{1} << 31, kApart = 256;
  uint64_t base_;
  Cell* cells_;
  std::map<uint64_t, size_t> live_;  // address to bytes
};

}  // namespace ptx
