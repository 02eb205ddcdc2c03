// The verifiers that read a node's rows once, and again where a drawn child is rejected.
#include "kernels.h"
#include "play_request.cuh"

namespace anydraft::detail {
namespace {

__global__ void __launch_bounds__(kThreads)
    verify_kernel(const __grid_constant__ Batch batch, int splits) {
  follow();
  __shared__ Scratch scratch;
  play_as(splits, splits, scratch, [&](auto& block, Scratch& shared) {
    play_verifier<CudaKernel::kReading>(block, shared, batch, blockIdx.x / splits);
  });
}

}  // namespace

template <>
void launch_verifier<CudaKernel::kReading>(const Batch& batch, void* stream) {
  launch_requests(verify_kernel, batch, stream);
}

}  // namespace anydraft::detail
