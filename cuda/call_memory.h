// Memory of calls that send a parcel to the device and fetch what comes of it: allocated when a
// call first needs as much, and used again.
#pragma once

#include <algorithm>

#include "anydraft/cuda.h"
#include "launch.h"

namespace anydraft::detail {

// Copied there before what comes later in the stream.
class DeviceArray {
 public:
  DeviceArray(const void* from, size_t bytes, cudaStream_t stream) {
    check_cuda(cudaMalloc(&data_, bytes), "device memory");
    const cudaError_t copied = cudaMemcpyAsync(data_, from, bytes, cudaMemcpyHostToDevice, stream);
    if (copied != cudaSuccess) cudaFree(data_);
    check_cuda(copied, "upload");
  }
  ~DeviceArray() { cudaFree(data_); }
  DeviceArray(const DeviceArray&) = delete;
  DeviceArray& operator=(const DeviceArray&) = delete;
  const void* data() const { return data_; }

 private:
  void* data_ = nullptr;
};

// Arrays one behind another, larger types first.
class Taker {
 public:
  explicit Taker(char* at) : at_(at) {}
  template <class T>
  void operator()(T*& array, size_t count) {
    at_ += (alignof(T) - reinterpret_cast<uintptr_t>(at_) % alignof(T)) % alignof(T);
    array = reinterpret_cast<T*>(at_);
    at_ += count * sizeof(T);
  }
  void operator()(CudaVerifyResult& result, size_t requests, size_t nodes) {
    (*this)(result.next_tokens, requests);
    (*this)(result.counts, requests);
    (*this)(result.status, requests);
    (*this)(result.where, requests);
    (*this)(result.accepted, nodes);
    (*this)(result.degenerate, requests);
  }
  char* end() const { return at_; }

 private:
  char* at_;
};

// One call at a time: send, launches, fetch. Copies go by pinned memory: from other memory they
// would wait for the stream.
class CallMemory {
 public:
  CallMemory() = default;
  ~CallMemory() {
    cudaFree(device_.data);
    cudaFreeHost(up_.data);
    cudaFreeHost(down_.data);
  }
  CallMemory(const CallMemory&) = delete;
  CallMemory& operator=(const CallMemory&) = delete;

  void use(void* stream) { stream_ = static_cast<cudaStream_t>(stream); }
  cudaStream_t stream() const { return stream_; }

  // Begins the copy of a parcel, and points it to where it will lie. Returns where `results` bytes
  // may be written, behind which lie `workspace` more.
  char* send(Parcel& parcel, size_t results, size_t workspace) {
    const size_t size = rounded(parcel.size());
    results_ = results;
    reserve(
        device_, size + rounded(results) + workspace,
        [](void** data, size_t bytes) { return cudaMalloc(data, bytes); }, cudaFree);
    const auto pinned = [](void** data, size_t bytes) {
      return cudaHostAlloc(data, bytes, cudaHostAllocDefault);
    };
    reserve(up_, size, pinned, cudaFreeHost);
    reserve(down_, results, pinned, cudaFreeHost);
    std::memcpy(up_.data, parcel.data(), parcel.size());
    check_cuda(
        cudaMemcpyAsync(device_.data, up_.data, parcel.size(), cudaMemcpyHostToDevice, stream_),
        "upload");
    parcel.place(static_cast<char*>(device_.data));
    at_ = static_cast<char*>(device_.data) + size;
    return at_;
  }
  void* workspace() const { return at_ + rounded(results_); }

  // Waits for the results and gives the host's copy, which stands until the next call.
  char* fetch(const char* name) {
    check_cuda(cudaMemcpyAsync(down_.data, at_, results_, cudaMemcpyDeviceToHost, stream_),
               "download");
    check_cuda(cudaStreamSynchronize(stream_), name);
    return static_cast<char*>(down_.data);
  }

 private:
  struct Block {
    void* data = nullptr;
    size_t size = 0;
  };
  static constexpr size_t kSmallest = size_t{1} << 16;

  static size_t rounded(size_t bytes) { return (bytes + 255) / 256 * 256; }
  template <class Allocate, class Free>
  static void reserve(Block& block, size_t bytes, Allocate allocate, Free free) {
    if (bytes <= block.size) return;
    const size_t size = std::max({bytes, 2 * block.size, kSmallest});
    if (block.data) free(block.data);
    block = {};
    check_cuda(allocate(&block.data, size), "memory of a call");
    block.size = size;
  }

  cudaStream_t stream_ = nullptr;
  Block device_, up_, down_;
  char* at_ = nullptr;  // the results, on the device
  size_t results_ = 0;
};

}  // namespace anydraft::detail
