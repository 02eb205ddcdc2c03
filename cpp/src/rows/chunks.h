// A row chunk by chunk, as the kernels take it: the row itself, or what it is by target ids.
#pragma once

#include <cstdint>

#include "anydraft/detail/distribution.h"

namespace anydraft::detail {

// Entries [begin, end) at `row`; where it ends before the chunk does, nothing behind has mass.
struct ChunkView {
  const void* row;
  DType dtype;
  int64_t begin, end;
};

// Entries [begin, end) of a row, at most a chunk, until this thread's next call. Of the
// distribution only what says where the row is and how it is read has to be there yet.
ChunkView view_chunk(const Distribution& distribution, int64_t begin, int64_t end);

// out[i] = mass(distribution, begin + i); ends behind the row read 0.
void masses_of(const Distribution& distribution, int64_t begin, int64_t end, double* out);

}  // namespace anydraft::detail
