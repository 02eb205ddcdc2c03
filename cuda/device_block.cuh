// A CUDA block, or a cluster of blocks, with the operations that block.cuh asks for.
#pragma once

#include <cooperative_groups.h>
#include <cuda_runtime.h>

#include <cstdint>

namespace anydraft::detail {

// One block, or a cluster of `splits` blocks that share the first one's memory.
class DeviceBlock {
 public:
  __device__ explicit DeviceBlock(int splits) : splits_(splits) {}

  __device__ int thread() const {
    const int block = splits_ > 1 ? static_cast<int>(blockIdx.x) % splits_ : 0;
    return block * static_cast<int>(blockDim.x) + static_cast<int>(threadIdx.x);
  }
  __device__ int threads() const { return splits_ * static_cast<int>(blockDim.x); }

  __device__ void sync() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
    if (splits_ > 1) return cooperative_groups::this_cluster().sync();
#endif
    __syncthreads();
  }
  template <class T>
  __device__ T& shared(T& mine) const {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
    if (splits_ > 1) return *cooperative_groups::this_cluster().map_shared_rank(&mine, 0);
#endif
    return mine;
  }

  template <class T, class Op>
  __device__ T of_warp(T value, Op op) {
    // A butterfly: each lane folds the same tree, since the operations commute.
    for (int step = 16; step > 0; step /= 2) value = op(value, exchange(value, step));
    return value;
  }
  template <class T>
  __device__ T exchange(T value, int mask) {
    return __shfl_xor_sync(0xffffffffu, value, mask);
  }
  __device__ uint64_t add(uint64_t* slot, uint64_t value) {
    return atomicAdd(reinterpret_cast<unsigned long long*>(slot), value);
  }
  __device__ uint64_t publish(uint64_t* slot) {
    __threadfence();
    const uint64_t before = add(slot, 1);
    __threadfence();
    return before;
  }

 private:
  const int splits_;
};

// Lets the next kernel of a call be set up, and waits for the results of the one before.
__device__ inline void follow() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  cudaTriggerProgrammaticLaunchCompletion();
  cudaGridDependencySynchronize();
#endif
}
__device__ inline int64_t thread_of_grid() {
  return static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
}

// Calls play(block, scratch) with all `splits` blocks as one, or (`used` = 1) with the first alone.
template <class Scratch, class Play>
__device__ void play_as(int splits, int used, Scratch& scratch, Play play) {
  if (used == 1 && blockIdx.x % splits != 0) return;
  DeviceBlock block(used);
  play(block, block.shared(scratch));
  block.sync();  // a block may not end while others read its shared memory
}

}  // namespace anydraft::detail
