// The loops over a chunk of a row, once per instruction set; the results do not depend on which.
#pragma once

#include <cstdint>

#include "anydraft/detail/law.h"

namespace anydraft::detail {

struct ChunkMax {
  float largest;  // -inf where all entries are
  bool bad;       // holds NaN or +inf
};

struct RowKernels {
  const char* name;
  // Largest entry of row[begin, end).
  ChunkMax (*max)(const void* row, DType dtype, int64_t begin, int64_t end);
  // Sum of 2^(x * scale - reference) over entries x >= lower, in the fixed order.
  double (*sum)(const void* row, DType dtype, int64_t begin, int64_t end, float scale, float lower,
                int32_t reference);
  // out[i] = mass(law, begin + i).
  void (*masses)(const Law& law, int64_t begin, int64_t end, double* out);
};

const RowKernels& portable_kernels();
const RowKernels& avx2_kernels();    // the portable ones where not compiled in
const RowKernels& avx512_kernels();  // likewise
const RowKernels& kernels();         // the best this machine runs

}  // namespace anydraft::detail
