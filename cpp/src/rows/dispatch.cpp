#include "rows/kernels.h"

namespace anydraft::detail {

static const RowKernels& best() {
#if defined(__x86_64__) && defined(__GNUC__)
  __builtin_cpu_init();
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  if (avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
      __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl")) {
    return avx512_kernels();
  }
  if (avx2) return avx2_kernels();
#endif
  return portable_kernels();
}

const RowKernels& kernels() {
  static const RowKernels& chosen = best();
  return chosen;
}

}  // namespace anydraft::detail
