// Compiled with the flags of its instruction set (CMakeLists.txt).
#if defined(__AVX512F__)
#define KERNELS_NAME "avx512"
#if defined(__GNUC__) && !defined(__clang__)
// Of GCC 12's own intrinsics.
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#include "rows/simd_avx512.h"
// After the vectors it is written in.
#include "rows/kernels.inc"

namespace anydraft::detail {
const RowKernels& avx512_kernels() { return kKernels; }
}  // namespace anydraft::detail
#else
#include "rows/kernels.h"

namespace anydraft::detail {
const RowKernels& avx512_kernels() { return portable_kernels(); }
}  // namespace anydraft::detail
#endif
