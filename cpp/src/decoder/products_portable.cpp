#define KERNELS portable_product_kernels
#include "decoder/products.inc"
