// A verification as verify_cuda_async launches it, on host blocks one after another; or with
// ANYDRAFT_PLAYS_ON_DEVICE by the compiled kernels.
#pragma once

#ifdef ANYDRAFT_PLAYS_ON_DEVICE
#include "tests/ptx/device_plays.h"
#endif

#include "cuda/play_request.cuh"
#include "cuda/split.cuh"
#include "host_block.h"

namespace anydraft::testing {

#ifndef ANYDRAFT_PLAYS_ON_DEVICE
// By warps, or (an even number of nodes) by a block a chunk.
inline void play_scan(const detail::Batch& batch, int threads) {
  if (batch.request.nodes % 2 == 0) {
    for (int64_t unit = 0; unit < detail::chunks_of(batch.request); ++unit) {
      run_block<detail::ChunkScratch>(threads, [&](Block& block, detail::ChunkScratch& scratch) {
        detail::scan_chunk_unit(block, scratch, batch, unit);
      });
    }
    return;
  }
  run_block(32, [&](Block& block, detail::Scratch&) {
    for (int64_t unit = detail::units_of(batch.request, 8); unit-- > 0;) {
      detail::scan_unit<8>(block, batch, unit);
    }
  });
}

inline void play_distributions(const detail::Batch& batch, int threads) {
  play_scan(batch, threads);
  for (int64_t distribution = 0; distribution < detail::distributions_of(batch.request);
       ++distribution) {
    run_block(threads, [&](Block& block, detail::Scratch& scratch) {
      detail::finish_distribution(block, scratch, batch, distribution);
    });
  }
}

inline void play_request(const detail::Batch& batch, int64_t index, int threads) {
  run_block(threads, [&](Block& block, detail::Scratch& scratch) {
    detail::play_verifier<detail::CudaKernel::kReading>(block, scratch, batch, index);
    detail::play_verifier<detail::CudaKernel::kDeferring>(block, scratch, batch, index);
    detail::play_verifier<detail::CudaKernel::kSweeping>(block, scratch, batch, index);
  });
  const bool waits = batch.workspace.deferred && batch.workspace.deferred[index].waits;
  const int chunks = waits ? detail::chunks_of(batch.request.target_logits.cols) : 0;
  for (int chunk = 0; chunk < chunks; ++chunk) {
    run_block<detail::SweepScratch>(threads, [&](Block& block, detail::SweepScratch& scratch) {
      detail::sweep_chunk(block, scratch, batch, index, chunk);
    });
  }
  if (!batch.result.acceptance) return;
  run_block(threads, [&](Block& block, detail::Scratch& scratch) {
    detail::tell_request(block, scratch, batch, index);
  });
}

// All requests; `batch.workspace.parts` says whether rows are read beforehand.
inline void play_batch(const detail::Batch& batch, int threads) {
  if (batch.workspace.parts) play_distributions(batch, threads);
  for (int64_t i = 0; i < batch.request.trees.requests; ++i) play_request(batch, i, threads);
}

#endif

}  // namespace anydraft::testing
