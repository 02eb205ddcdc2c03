// The loops over a chunk of a row, once per instruction set; the results do not depend on which.
#pragma once

#include <cstdint>
#include <vector>

#include "anydraft/detail/distribution.h"

namespace anydraft::detail {

struct ChunkMax {
  float largest;  // -inf where all entries are
  bool bad;       // holds NaN or +inf
};

// A chunk read once. `total` is NaN where an entry is.
struct ChunkScan {
  float largest;   // of all entries but NaN
  float smallest;  // of the entries >= lower; +inf where there is none
  double total;    // of 2^(x * scale - exponent) over these, in the fixed order
};

// Equal steps of the logit, downwards from `largest`; what lies further down counts in the last
// one.
struct Bins {
  static constexpr int kCount = 1024;
  float largest;
  float per_logit;
};

inline int bin_index(float steps) {
  const float last = Bins::kCount - 1;
  return static_cast<int>(steps < last ? steps : last);
}

inline int bin_of(const Bins& bins, float x) {
  return bin_index((bins.largest - x) * bins.per_logit);
}

struct Sweeps;  // rows/sweeps.h
struct RowOps;  // decoder/row_ops.h

struct RowKernels {
  const char* name;
  const Sweeps* sweeps;
  const RowOps* ops;
  // Largest entry of row[begin, end); `lanes`, where not null, receives that of each lane.
  ChunkMax (*max)(const void* row, DType dtype, int64_t begin, int64_t end, float* lanes);
  // `keep`, where not null, receives the terms.
  ChunkScan (*scan)(const void* row, DType dtype, int64_t begin, int64_t end, float scale,
                    float lower, int32_t exponent, float* keep);
  // Sum of 2^(x * scale - exponent) over entries x >= lower, in the fixed order.
  double (*sum)(const void* row, DType dtype, int64_t begin, int64_t end, float scale, float lower,
                int32_t exponent);
  // out[i] = mass(distribution, begin + i).
  void (*masses)(const Distribution& distribution, int64_t begin, int64_t end, double* out);
  // Entries in [lower, upper) to `out`, in order; returns how many. Room for end - begin + 32.
  int64_t (*collect)(const void* row, DType dtype, int64_t begin, int64_t end, float lower,
                     float upper, float* out);
  // Adds to each bin the nucleus weights (detail/distribution.h) of its entries >= lower, or with
  // `count_only` their number.
  void (*histogram)(const void* row, DType dtype, int64_t begin, int64_t end, float lower,
                    const Bins& bins, bool count_only, float scale, int32_t exponent,
                    uint64_t* weights);
  // out[i] = row[ids[i]]; -inf where that is below `lower`.
  void (*gather)(const void* row, DType dtype, const int32_t* ids, int64_t count, float lower,
                 float* out);
  // Packed entries back to their lanes, `otherwise` in the others; whole lines are written. Bit l
  // of lines[i] says that lane l of line i holds one. Reads kLanes entries more.
  void (*expand)(const float* packed, const uint32_t* lines, int64_t line_count, float otherwise,
                 float* out);
  // Their sum in the fixed order.
  double (*expanded_sum)(const float* packed, const uint32_t* lines, int64_t line_count);
  // out[i] = logit_of(distribution, masses[i]).
  void (*logits)(const Distribution& distribution, const double* masses, int64_t count, float* out);
};

const RowKernels& portable_kernels();
const RowKernels& avx2_kernels();    // the portable ones where not compiled in
const RowKernels& avx512_kernels();  // likewise
const RowKernels& kernels();         // the best this machine runs

// For tests and benches: those this machine runs, the last being the best, and a choice among them
// (null: the best again), which products (decoder/products.h) follow.
std::vector<const RowKernels*> runnable_kernels();
void use_kernels(const RowKernels* set);

}  // namespace anydraft::detail
