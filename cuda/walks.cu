// The walks that read a node's rows once, and again where a drawn child is rejected.
#include "kernels.h"
#include "play_request.cuh"

namespace anydraft::detail {
namespace {

__global__ void __launch_bounds__(kThreads)
    verify_kernel(const __grid_constant__ Batch batch, int splits) {
  __shared__ Scratch scratch;
  play_as(splits, splits, scratch, [&](auto& block, Scratch& shared) {
    play_request(block, shared, batch, blockIdx.x / splits, [&](auto& rows) {
      const Verifier verifier = batch.request.verifier;
      if (verifier == Verifier::kTopDown) return top_down(rows);
      return verifier == Verifier::kMatch ? match(rows) : traversal(rows);
    });
  });
}

}  // namespace

void launch_walks(const Batch& batch, void* stream) {
  launch_requests(verify_kernel, batch, stream);
}

}  // namespace anydraft::detail
