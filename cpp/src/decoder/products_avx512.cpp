// Compiled with the flags of its instruction set (CMakeLists.txt).
#if defined(__AVX512VNNI__)
#define KERNELS avx512_product_kernels
#include "decoder/products.inc"
#else
#include "decoder/products_kernels.h"

namespace anydraft::detail {
const ProductKernels& avx512_product_kernels() { return portable_product_kernels(); }
}  // namespace anydraft::detail
#endif
