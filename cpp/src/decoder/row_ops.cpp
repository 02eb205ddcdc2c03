// The portable row operations, and the choice among all.
#include "decoder/row_ops.h"

#include <type_traits>

#include "rows/kernels.h"
#include "rows/simd_portable.h"

namespace anydraft::detail {
namespace {
inline Floats divide(const Floats& a, const Floats& b) {
  return floats([&](int i) { return a.at[i] / b.at[i]; });
}
}  // namespace
}  // namespace anydraft::detail

// After the vectors it is written in.
#include "decoder/row_ops.inc"

namespace anydraft::detail {

const RowOps& portable_row_ops() { return kRowOps; }

const RowOps& row_ops() {
  const RowKernels* chosen = &kernels();
  if (chosen == &portable_kernels()) return portable_row_ops();
  return chosen == &avx2_kernels() ? avx2_row_ops() : avx512_row_ops();
}

}  // namespace anydraft::detail
