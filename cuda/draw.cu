// The kernel that draws children from a drafter's rows: a block or a cluster for each row, or for
// the rows of a dynamic tree.
#include "draw.cuh"
#include "kernels.h"

namespace anydraft::detail {
namespace {

__global__ void __launch_bounds__(kThreads)
    draw_kernel(const __grid_constant__ DrawBatch batch, int splits) {
  follow();
  __shared__ Scratch scratch;
  play_as(splits, splits, scratch, [&](auto& block, Scratch& shared) {
    draw_in_turn(block, shared, batch, blockIdx.x / splits);
  });
}

}  // namespace

void launch_draws(const DrawBatch& batch, int64_t groups, void* stream) {
  launch_blocks(draw_kernel, After::kOthers, groups, 0, stream, "draw_kernel", batch);
}

}  // namespace anydraft::detail
