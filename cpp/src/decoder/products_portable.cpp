#define KERNELS_NAME "portable"
#include "decoder/products_simd.h"
// After the vectors it is written in.
#include "decoder/products.inc"

namespace anydraft::detail {
const ProductKernels& portable_product_kernels() {
  static const ProductKernels set = all_kernels();
  return set;
}
}  // namespace anydraft::detail
