// The host side of a launch.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "anydraft/error.h"
#include "block.cuh"

namespace anydraft::detail {

inline void check_cuda(cudaError_t status, const char* what) {
  if (status == cudaSuccess) return;
  const bool absent = status == cudaErrorNoDevice || status == cudaErrorInsufficientDriver;
  throw Error(absent ? ErrorKind::kCudaUnavailable : ErrorKind::kCuda,
              std::string("[cuda] ") + what + ": " + cudaGetErrorString(status));
}

inline int device_attribute(cudaDeviceAttr attribute) {
  int device = 0, value = 0;
  check_cuda(cudaGetDevice(&device), "device");
  check_cuda(cudaDeviceGetAttribute(&value, attribute, device), "device attribute");
  return value;
}

// Whether the code that was loaded of a kernel has clusters and waits for the kernel before it. A
// new device may run old PTX, whose threads would then count across blocks that share nothing.
template <class Kernel>
bool has_clusters(Kernel kernel) {
  cudaFuncAttributes attributes{};
  check_cuda(cudaFuncGetAttributes(&attributes, kernel), "a kernel's code");
  return attributes.ptxVersion >= 90 && device_attribute(cudaDevAttrComputeCapabilityMajor) >= 9;
}

// How many blocks work on each of `count` items: as many as the device's multiprocessors can take
// at once, or `wanted`.
template <class Kernel>
int splits_for(Kernel kernel, int64_t count, int wanted) {
  const int processors = device_attribute(cudaDevAttrMultiProcessorCount);
  if (wanted != 0 && wanted != 1 && wanted != 2 && wanted != 4 && wanted != 8) {
    throw Error(ErrorKind::kValue,
                "[cuda] expected 0, 1, 2, 4 or 8 splits, got " + std::to_string(wanted));
  }
  if (!has_clusters(kernel)) return 1;
  if (wanted > 0) return wanted;
  int splits = 8;
  while (splits > 1 && count * splits > processors) splits /= 2;
  return splits;
}

// Whether a kernel may be set up while the one before it, of the same call, still runs.
enum class After { kOthers, kOwn };

// Launches with `splits` blocks a cluster. Every kernel begins with follow() of device_block.cuh.
template <class Kernel, class... Arguments>
void launch(Kernel kernel, After after, int64_t blocks, int threads, int splits, void* stream,
            const char* name, const Arguments&... arguments) {
  if (blocks > INT32_MAX) {
    throw Error(ErrorKind::kValue, std::string("[cuda] expected fewer rows than a grid of ") +
                                       name + " has blocks, got " + std::to_string(blocks));
  }
  cudaLaunchAttribute attributes[2];
  unsigned count = 0;
  if (splits > 1) {
    attributes[count].id = cudaLaunchAttributeClusterDimension;
    attributes[count++].val.clusterDim = {static_cast<unsigned>(splits), 1, 1};
  }
  if (after == After::kOwn && has_clusters(kernel)) {
    attributes[count].id = cudaLaunchAttributeProgrammaticStreamSerialization;
    attributes[count++].val.programmaticStreamSerializationAllowed = 1;
  }
  cudaLaunchConfig_t config{};
  config.gridDim = {static_cast<unsigned>(blocks), 1, 1};
  config.blockDim = {static_cast<unsigned>(threads), 1, 1};
  config.stream = static_cast<cudaStream_t>(stream);
  config.attrs = attributes;
  config.numAttrs = count;
  check_cuda(cudaLaunchKernelEx(&config, kernel, arguments...), name);
}

// Launches a block, or a cluster of `wanted` blocks (0: as many as fit), for each of `count` items.
constexpr int kThreads = 256;
template <class Kernel, class Batch>
void launch_blocks(Kernel kernel, After after, int64_t count, int wanted, void* stream,
                   const char* name, const Batch& batch) {
  const int splits = splits_for(kernel, count, wanted);
  launch(kernel, after, count * splits, kThreads, splits, stream, name, batch, splits);
}

// How all rows are read beforehand. Very few rows: a block for each chunk. Few rows: many warps
// with narrow loads. Else: as few threads as fill the device, with wide loads.
constexpr int kWide = 8, kNarrow = 2;
constexpr int64_t kVeryFewEntries = int64_t{1} << 22, kFewEntries = int64_t{1} << 25;

// Launches the kernel that reads all rows: a block for each of `chunks`, or a warp for each of
// units(width).
constexpr int kScanThreads = 128;
template <class Kernel, class Units, class Batch>
void launch_scan(Kernel by_chunk, Kernel narrow, Kernel wide, int64_t entries, int64_t chunks,
                 Units units, void* stream, const Batch& batch) {
  if (entries < kVeryFewEntries) {
    return launch(by_chunk, After::kOthers, chunks, kThreads, 1, stream, "scan_kernel", batch);
  }
  constexpr int kWarps = kScanThreads / 32;
  const bool few = entries < kFewEntries;
  const int64_t blocks = (units(few ? kNarrow : kWide) + kWarps - 1) / kWarps;
  launch(few ? narrow : wide, After::kOthers, blocks, kScanThreads, 1, stream, "scan_kernel",
         batch);
}

// What both entry points require of their arguments. `name` is that of the entry point.
inline void check_call(const char* name, int64_t vocab, size_t workspace, size_t needed) {
  const auto fail = [&](const std::string& expected, int64_t got) {
    throw Error(ErrorKind::kValue,
                std::string(name) + " expected " + expected + ", got " + std::to_string(got));
  };
  if (vocab < 1 || vocab > kLargestVocab) {
    fail("a vocabulary of 1 to " + std::to_string(kLargestVocab) + " tokens on CUDA rows", vocab);
  }
  if (workspace < needed) {
    fail("at least " + std::to_string(needed) + " bytes of workspace",
         static_cast<int64_t>(workspace));
  }
}

// Device memory of one call. It is freed in stream order.
class DeviceMemory {
 public:
  DeviceMemory(size_t bytes, cudaStream_t stream) : stream_(stream) {
    check_cuda(cudaMallocAsync(&data_, bytes, stream), "device memory");
  }
  ~DeviceMemory() { cudaFreeAsync(data_, stream_); }
  DeviceMemory(const DeviceMemory&) = delete;
  DeviceMemory& operator=(const DeviceMemory&) = delete;
  char* data() const { return static_cast<char*>(data_); }

 private:
  cudaStream_t stream_;
  void* data_ = nullptr;
};

// Host arrays packed together for one copy. Its pointers are offsets until `place` is called.
class Parcel {
 public:
  template <class T>
  void add(const T*& array, const T* from, size_t count) {
    if (!from) return;
    slots_.push_back({reinterpret_cast<const void**>(&array), bytes_.size()});
    const size_t size = count * sizeof(T);
    bytes_.resize((bytes_.size() + size + 15) / 16 * 16);
    if (size > 0) std::memcpy(bytes_.data() + slots_.back().offset, from, size);
  }
  // Turns the offsets into pointers from `base` on.
  void place(const char* base) {
    for (const Slot& slot : slots_) *slot.array = base + slot.offset;
  }
  size_t size() const { return bytes_.size(); }
  const char* data() const { return bytes_.data(); }
  void clear() { slots_.clear(), bytes_.clear(); }

 private:
  struct Slot {
    const void** array;
    size_t offset;
  };
  std::vector<Slot> slots_;
  std::vector<char> bytes_;
};

}  // namespace anydraft::detail
