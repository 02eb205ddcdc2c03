// Compiled with the flags of its instruction set (CMakeLists.txt).
#if defined(__AVX2__)
#define KERNELS avx2_product_kernels
#include "decoder/products.inc"
#else
#include "decoder/products_kernels.h"

namespace anydraft::detail {
const ProductKernels& avx2_product_kernels() { return portable_product_kernels(); }
}  // namespace anydraft::detail
#endif
