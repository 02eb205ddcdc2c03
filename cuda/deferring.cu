// The verifier whose draw behind a node's last child waits: a second kernel makes it.
#include "kernels.h"
#include "play_request.cuh"

namespace anydraft::detail {
namespace {

// Whether one block plays the whole request. This holds for a chain whose draw is deferred: its
// verifier sums over no rows, and a cluster's barriers would take longer than its work.
__device__ bool is_alone(const Batch& batch, int64_t index) {
  const CudaVerifyRequest& all = batch.request;
  if (!batch.workspace.deferred || !batch.workspace.parts) return false;
  const int64_t begin = all.trees.offsets[index], end = all.trees.offsets[index + 1];
  if (begin < 0 || end > all.nodes || end - begin > blockDim.x) return false;
  const int64_t node = begin + threadIdx.x;
  return __syncthreads_and(node >= end || all.trees.parents[node] == node - begin - 1);
}

__global__ void __launch_bounds__(kThreads)
    verify_kernel(const __grid_constant__ Batch batch, int splits) {
  follow();
  __shared__ Scratch scratch;
  const int used = splits > 1 && is_alone(batch, blockIdx.x / splits) ? 1 : splits;
  play_as(splits, used, scratch, [&](auto& block, Scratch& shared) {
    play_verifier<CudaKernel::kDeferring>(block, shared, batch, blockIdx.x / splits);
  });
}

__global__ void __launch_bounds__(kThreads) sweep_kernel(const __grid_constant__ Batch batch) {
  follow();
  __shared__ SweepScratch scratch;
  DeviceBlock block(1);
  const int chunks = chunks_of(batch.request.target_logits.cols);
  sweep_chunk(block, scratch, batch, blockIdx.x / chunks, static_cast<int>(blockIdx.x % chunks));
}

}  // namespace

template <>
void launch_verifier<CudaKernel::kDeferring>(const Batch& batch, void* stream) {
  launch_requests(verify_kernel, batch, stream);
  if (!batch.workspace.deferred) return;
  const int64_t chunks = chunks_of(batch.request.target_logits.cols);
  launch(sweep_kernel, After::kOwn, batch.request.trees.requests * chunks, kThreads, 1, stream,
         "sweep_kernel", batch);
}

}  // namespace anydraft::detail
