// Any machine.
#define KERNELS_NAME "portable"
#include "rows/simd_portable.h"
// After the vectors it is written in.
#include "rows/kernels.inc"

namespace anydraft::detail {
const RowKernels& portable_kernels() { return kKernels; }
}  // namespace anydraft::detail
