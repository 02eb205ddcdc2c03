// Compiled with the flags of its instruction set (CMakeLists.txt).
#if defined(__AVX2__)
#if defined(__GNUC__) && !defined(__clang__)
// Of GCC 12's own intrinsics.
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#include <type_traits>

#include "anydraft/detail/distribution.h"
#include "rows/simd_avx2.h"

namespace anydraft::detail {
namespace {
inline Floats divide(Floats a, Floats b) { return _mm256_div_ps(a, b); }
}  // namespace
}  // namespace anydraft::detail

// After the vectors it is written in.
#include "decoder/row_ops.inc"

namespace anydraft::detail {
const RowOps& avx2_row_ops() { return kRowOps; }
}  // namespace anydraft::detail
#else
#include "decoder/row_ops.h"

namespace anydraft::detail {
const RowOps& avx2_row_ops() { return portable_row_ops(); }
}  // namespace anydraft::detail
#endif
