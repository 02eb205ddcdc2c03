#include "rows/kernels.h"
#include "rows/sweeps.h"

namespace anydraft::detail {
namespace {

struct InstructionSet {
  const RowKernels* kernels;
  const Sweeps* sweeps;
};

InstructionSet best() {
#if defined(__x86_64__) && defined(__GNUC__)
  __builtin_cpu_init();
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  if (avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
      __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl")) {
    return {&avx512_kernels(), &avx512_sweeps()};
  }
  if (avx2) return {&avx2_kernels(), &avx2_sweeps()};
#endif
  return {&portable_kernels(), &portable_sweeps()};
}

const InstructionSet& chosen() {
  static const InstructionSet set = best();
  return set;
}

}  // namespace

const RowKernels& kernels() { return *chosen().kernels; }
const Sweeps& sweeps() { return *chosen().sweeps; }

}  // namespace anydraft::detail
