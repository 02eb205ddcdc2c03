// Turns all rows of a verification into distributions, before the verifiers run. Warps read the
// rows once; then a block or a cluster finishes each row.
#include "kernels.h"
#include "split.cuh"

namespace anydraft::detail {
namespace {

template <int width>
__global__ void __launch_bounds__(kScanThreads) scan_kernel(const __grid_constant__ Batch batch) {
  follow();
  DeviceBlock block(1);
  scan_unit<width>(block, batch, thread_of_grid() / kLanes);
}

__global__ void __launch_bounds__(kThreads) scan_chunk_kernel(const __grid_constant__ Batch batch) {
  follow();
  __shared__ ChunkScratch scratch;
  DeviceBlock block(1);
  scan_chunk_unit(block, scratch, batch, blockIdx.x);
}

__global__ void __launch_bounds__(kThreads)
    distributions_kernel(const __grid_constant__ Batch batch, int splits) {
  follow();
  __shared__ Scratch scratch;
  const int64_t unit = blockIdx.x / splits;
  const int used = cuts(batch.request, unit) ? splits : 1;
  play_as(splits, used, scratch,
          [&](auto& block, Scratch& shared) { finish_distribution(block, shared, batch, unit); });
}

}  // namespace

void launch_distributions(const Batch& batch, void* stream) {
  const CudaVerifyRequest& all = batch.request;
  launch_scan(
      scan_chunk_kernel, scan_kernel<kNarrow>, scan_kernel<kWide>,
      all.nodes * all.target_logits.cols, chunks_of(all),
      [&](int width) { return units_of(all, width); }, stream, batch);
  launch_blocks(distributions_kernel, After::kOwn, distributions_of(all), 0, stream,
                "distributions_kernel", batch);
}

}  // namespace anydraft::detail
