// Sampling as the kernels do it, on a host block of threads.
#pragma once

#include "cuda/sample.cuh"
#include "host_block.h"

namespace anydraft::testing {

inline void play_samples(const detail::SampleBatch& batch, int64_t rows) {
  run_block(32, [&](Block& block, detail::Scratch&) {
    for (int64_t unit = 0; unit < rows * detail::units_a_row(batch.request, 8); ++unit) {
      detail::scan_sample_unit<8>(block, batch, unit);
    }
  });
  for (int64_t row = 0; row < rows; ++row) {
    run_block(64, [&](Block& block, detail::Scratch& scratch) {
      detail::sample_row(block, scratch, batch, row);
    });
  }
}

}  // namespace anydraft::testing
