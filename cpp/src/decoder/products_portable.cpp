#define KERNELS portable_product_kernels
#define KERNELS_NAME "portable"
#include "decoder/products.inc"
