// Host side of a launch.
#pragma once

#include <cuda_runtime.h>

#include <cstring>
#include <string>
#include <vector>

#include "anydraft/error.h"

namespace anydraft::detail {

inline void check_cuda(cudaError_t status, const char* what) {
  if (status == cudaSuccess) return;
  const bool absent = status == cudaErrorNoDevice || status == cudaErrorInsufficientDriver;
  throw Error(absent ? ErrorKind::kCudaUnavailable : ErrorKind::kValue,
              std::string("[cuda] ") + what + ": " + cudaGetErrorString(status));
}

// Device memory of one call, freed in the order of the stream.
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

// Host arrays side by side, to travel in one copy. Pointers it gives are offsets until `place`.
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
  // Sets every array's pointer to its place at `base`.
  void place(const char* base) {
    for (const Slot& slot : slots_) *slot.array = base + slot.offset;
  }
  size_t size() const { return bytes_.size(); }
  const char* data() const { return bytes_.data(); }

 private:
  struct Slot {
    const void** array;
    size_t offset;
  };
  std::vector<Slot> slots_;
  std::vector<char> bytes_;
};

}  // namespace anydraft::detail
