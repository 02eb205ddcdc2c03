// Sampling as the kernels do it, on a host block of threads; or with ANYDRAFT_PLAYS_ON_DEVICE by
// the compiled kernels.
#pragma once

#ifdef ANYDRAFT_PLAYS_ON_DEVICE
#include "tests/ptx/device_plays.h"
#endif

#include "cuda/sample.cuh"
#include "host_block.h"

namespace anydraft::testing {

#ifndef ANYDRAFT_PLAYS_ON_DEVICE
inline void play_samples(const detail::SampleBatch& batch, int64_t rows) {
  if (rows % 2 == 0) {  // by a block a chunk, else by warps
    for (int64_t unit = 0; unit < rows * detail::chunks_of(detail::vocab_of(batch.request));
         ++unit) {
      run_block<detail::ChunkScratch>(64, [&](Block& block, detail::ChunkScratch& scratch) {
        detail::scan_sample_chunk(block, scratch, batch, unit);
      });
    }
  }
  run_block(32, [&](Block& block, detail::Scratch&) {
    const int64_t units = rows % 2 == 0 ? 0 : rows * detail::units_a_row(batch.request, 8);
    for (int64_t unit = 0; unit < units; ++unit) {
      detail::scan_sample_unit<8>(block, batch, unit);
    }
  });
  for (int64_t row = 0; row < rows; ++row) {
    run_block(64, [&](Block& block, detail::Scratch& scratch) {
      detail::sample_row(block, scratch, batch, row);
    });
  }
}

#endif

}  // namespace anydraft::testing
