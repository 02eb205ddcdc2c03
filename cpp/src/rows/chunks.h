// A row chunk by chunk, as the kernels take it: the row itself, or what it is by target ids.
#pragma once

#include <cstdint>

#include "anydraft/detail/distribution.h"
#include "rows/kernels.h"

namespace anydraft::detail {

// Entries [begin, end) at `row`; where it ends before the chunk does, nothing behind has mass.
struct ChunkView {
  const void* row;
  DType dtype;
  int64_t begin, end;
};

// Entries [begin, end) of a row, within a chunk (a mapped row: all of it), until this thread's next
// call. Of the
// distribution only what says where the row is and how it is read has to be there yet.
ChunkView view_chunk(const Distribution& distribution, int64_t begin, int64_t end);

// Whether chunks of the row are packed before they are read.
bool is_packed(const Distribution& distribution);

// For parallel_chunks.
inline int64_t cost_of(const Distribution& distribution) { return is_packed(distribution) ? 4 : 1; }

// Its entries packed, without those that have no mass and in any order; or as view_chunk.
ChunkView any_order(const Distribution& distribution, int64_t begin, int64_t end);

// As RowKernels::scan, at the distribution's scale. `keep`, where not null, has room for whole
// lines.
ChunkScan scan_chunk(const Distribution& distribution, int64_t begin, int64_t end, float lower,
                     int32_t exponent, float* keep);

// As Sweeps::keep; false, and nothing of use in `out`, where the chunk has no mass.
bool keep_terms(const Distribution& distribution, int64_t begin, int64_t end, float* out);

// As RowKernels::sum, likewise.
inline double sum_chunk(const Distribution& distribution, int64_t begin, int64_t end, float lower,
                        int32_t exponent) {
  if (is_packed(distribution))
    return scan_chunk(distribution, begin, end, lower, exponent, nullptr).total;
  const ChunkView view = view_chunk(distribution, begin, end);
  return kernels().sum(view.row, view.dtype, view.begin, view.end, distribution.scale, lower,
                       exponent);
}

// out[i] = mass(distribution, begin + i); ends behind the row read 0.
void masses_of(const Distribution& distribution, int64_t begin, int64_t end, double* out);

}  // namespace anydraft::detail
