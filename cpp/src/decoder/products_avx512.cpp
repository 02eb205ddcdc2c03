// Compiled with the flags of its instruction set (CMakeLists.txt).
#if defined(__AVX512VNNI__)
#define KERNELS_NAME "avx512"
#if defined(__GNUC__) && !defined(__clang__)
// Of GCC 12's own intrinsics.
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#include "decoder/products_simd.h"
// After the vectors it is written in.
#include "decoder/products.inc"

namespace anydraft::detail {
const ProductKernels& avx512_product_kernels() {
  static const ProductKernels set = all_kernels();
  return set;
}
}  // namespace anydraft::detail
#else
#include "decoder/products_kernels.h"

namespace anydraft::detail {
const ProductKernels& avx512_product_kernels() { return portable_product_kernels(); }
}  // namespace anydraft::detail
#endif
