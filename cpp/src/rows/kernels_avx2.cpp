// Compiled with the flags of its instruction set (CMakeLists.txt).
#if defined(__AVX2__) && defined(__FMA__)
#define KERNELS_NAME "avx2"
#include "rows/simd_avx2.h"
// After the vectors it is written in.
#include "rows/kernels.inc"

namespace anydraft::detail {
const RowKernels& avx2_kernels() { return kKernels; }
}  // namespace anydraft::detail
#else
#include "rows/kernels.h"

namespace anydraft::detail {
const RowKernels& avx2_kernels() { return portable_kernels(); }
}  // namespace anydraft::detail
#endif
