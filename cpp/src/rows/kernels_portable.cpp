// Any machine.
#define KERNELS_NAME "portable"
#include "rows/kernels.inc"
#include "rows/sweeps.inc"

namespace anydraft::detail {
const RowKernels& portable_kernels() { return kKernels; }
const Sweeps& portable_sweeps() { return kSweeps; }
}  // namespace anydraft::detail
