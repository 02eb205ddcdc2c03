// The launches of a verification, a source file each: they compile side by side, and what the walks
// with many sweeps need of registers and stack the others do without.
#pragma once

#include "batch.cuh"
#include "device_block.cuh"
#include "launch.h"

namespace anydraft::detail {

void launch_laws(const Batch& batch, void* stream);        // all rows to their laws
void launch_walks(const Batch& batch, void* stream);       // top_down, match, traversal
void launch_paths(const Batch& batch, void* stream);       // multipath, kseq
void launch_acceptance(const Batch& batch, void* stream);  // after the walk; not of multipath

template <class Kernel>
void launch_requests(Kernel kernel, const Batch& batch, void* stream) {
  const CudaVerifyRequest& all = batch.request;
  launch_blocks(kernel, batch.room.parts ? After::kOwn : After::kOthers, all.trees.requests,
                all.splits, stream, "verify_kernel", batch);
}

}  // namespace anydraft::detail
