// All rows of a verification to their laws, before the walks: read once by warps, then a block or a
// cluster a row.
#include "kernels.h"
#include "split.cuh"

namespace anydraft::detail {
namespace {

template <int width>
__global__ void __launch_bounds__(kScanThreads) scan_kernel(const __grid_constant__ Batch batch) {
  DeviceBlock block(1);
  const int64_t thread = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  scan_unit<width>(block, batch, thread / kLanes);
}

__global__ void __launch_bounds__(kThreads)
    laws_kernel(const __grid_constant__ Batch batch, int splits) {
  __shared__ Scratch scratch;
  const int64_t unit = blockIdx.x / splits;
  const int used = cuts(batch.request, unit) ? splits : 1;
  play_as(splits, used, scratch,
          [&](auto& block, Scratch& shared) { finish_law(block, shared, batch, unit); });
}

}  // namespace

void launch_laws(const Batch& batch, void* stream) {
  const CudaVerifyRequest& all = batch.request;
  launch_scan(
      scan_kernel<kNarrow>, scan_kernel<kWide>, all.nodes * all.target_logits.cols,
      [&](int width) { return units_of(all, width); }, stream, batch);
  launch_blocks(laws_kernel, laws_of(all), 0, stream, "laws_kernel", batch);
}

}  // namespace anydraft::detail
