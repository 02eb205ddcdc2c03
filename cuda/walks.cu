// The walks that read a node's rows once, and again where a drawn child is rejected; and the draws
// that these put off.
#include "kernels.h"
#include "play_request.cuh"

namespace anydraft::detail {
namespace {

__global__ void __launch_bounds__(kThreads)
    verify_kernel(const __grid_constant__ Batch batch, int splits) {
  __shared__ Scratch scratch;
  play_as(splits, splits, scratch, [&](auto& block, Scratch& shared) {
    play_walk(block, shared, batch, blockIdx.x / splits);
  });
}

__global__ void __launch_bounds__(kThreads) sweep_kernel(const __grid_constant__ Batch batch) {
  __shared__ SweepScratch scratch;
  DeviceBlock block(1);
  const int chunks = chunks_of(batch.request.target_logits.cols);
  sweep_chunk(block, scratch, batch, blockIdx.x / chunks, static_cast<int>(blockIdx.x % chunks));
}

}  // namespace

void launch_walks(const Batch& batch, void* stream) {
  launch_requests(verify_kernel, batch, stream);
  if (!batch.room.put_off) return;
  const int64_t chunks = chunks_of(batch.request.target_logits.cols);
  launch(sweep_kernel, batch.request.trees.requests * chunks, kThreads, 1, stream, "sweep_kernel",
         batch);
}

}  // namespace anydraft::detail
