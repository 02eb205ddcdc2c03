// Any machine.
#define KERNELS_NAME "portable"
#include "rows/kernels.inc"

namespace anydraft::detail {
const RowKernels& portable_kernels() { return kKernels; }
}  // namespace anydraft::detail
