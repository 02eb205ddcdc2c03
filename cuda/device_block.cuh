// A CUDA block as block.cuh asks for.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

namespace anydraft::detail {

struct DeviceBlock {
  __device__ int thread() const { return static_cast<int>(threadIdx.x); }
  __device__ int threads() const { return static_cast<int>(blockDim.x); }
  __device__ void sync() { __syncthreads(); }
  template <class T, class Op>
  __device__ T of_warp(T value, Op op) {
    // Butterflies: each lane folds the same tree, for + and the like commute.
    for (int step = 16; step > 0; step /= 2) {
      value = op(value, __shfl_xor_sync(0xffffffffu, value, step));
    }
    return value;
  }
  template <class T>
  __device__ T exchange(T value, int mask) {
    return __shfl_xor_sync(0xffffffffu, value, mask);
  }
  __device__ uint64_t add(uint64_t* slot, uint64_t value) {
    return atomicAdd(reinterpret_cast<unsigned long long*>(slot), value);
  }
};

}  // namespace anydraft::detail
