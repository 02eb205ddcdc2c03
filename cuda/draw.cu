// The kernel that draws children from a drafter's rows: a block or a cluster for each row.
#include "draw.cuh"
#include "kernels.h"

namespace anydraft::detail {
namespace {

__global__ void __launch_bounds__(kThreads)
    draw_kernel(const __grid_constant__ DrawBatch batch, int splits) {
  follow();
  __shared__ Scratch scratch;
  play_as(splits, splits, scratch, [&](auto& block, Scratch& shared) {
    draw_from_row(block, shared, batch, blockIdx.x / splits);
  });
}

}  // namespace

void launch_draws(const DrawBatch& batch, int64_t draws, void* stream) {
  launch_blocks(draw_kernel, After::kOthers, draws, 0, stream, "draw_kernel", batch);
}

}  // namespace anydraft::detail
