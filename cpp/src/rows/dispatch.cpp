#include <atomic>

#include "decoder/row_ops.h"
#include "rows/kernels.h"
#include "rows/sweeps.h"

namespace anydraft::detail {
namespace {

const RowKernels* best() {
#if defined(__x86_64__) && defined(__GNUC__)
  __builtin_cpu_init();
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
                    __builtin_cpu_supports("f16c");
  if (avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
      __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl")) {
    return &avx512_kernels();
  }
  if (avx2) return &avx2_kernels();
#endif
  return &portable_kernels();
}

std::atomic<const RowKernels*>& chosen() {
  static std::atomic<const RowKernels*> kernels{best()};
  return kernels;
}

}  // namespace

const RowKernels& kernels() { return *chosen().load(std::memory_order_relaxed); }
const Sweeps& sweeps() { return *kernels().sweeps; }
const RowOps& row_ops() { return *kernels().ops; }

std::vector<const RowKernels*> runnable_kernels() {
  std::vector<const RowKernels*> all;
  for (const RowKernels* set : {&portable_kernels(), &avx2_kernels(), &avx512_kernels()}) {
    if (all.empty() || set != all.front()) all.push_back(set);
    if (set == best()) break;
  }
  return all;
}

void use_kernels(const RowKernels* set) { chosen().store(set ? set : best()); }

}  // namespace anydraft::detail
