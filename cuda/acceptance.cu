// How likely each node of a verified tree was to be accepted.
#include "kernels.h"
#include "play_request.cuh"

namespace anydraft::detail {
namespace {

__global__ void __launch_bounds__(kThreads)
    acceptance_kernel(const __grid_constant__ Batch batch, int splits) {
  follow();
  __shared__ Scratch scratch;
  play_as(splits, splits, scratch, [&](auto& block, Scratch& shared) {
    tell_request(block, shared, batch, blockIdx.x / splits);
  });
}

}  // namespace

void launch_acceptance(const Batch& batch, void* stream) {
  launch_requests(acceptance_kernel, batch, stream);
}

}  // namespace anydraft::detail
