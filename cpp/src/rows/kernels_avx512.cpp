// Compiled with the flags of its instruction set (CMakeLists.txt).
#if defined(__AVX512F__)
#define KERNELS_NAME "avx512"
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
