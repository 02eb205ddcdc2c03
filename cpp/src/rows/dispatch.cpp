#include "rows/dispatch.h"

#include <atomic>

#include "rows/kernels.h"
#include "rows/sweeps.h"

namespace anydraft::detail {
namespace {

struct InstructionSet {
  const RowKernels* kernels;
  const Sweeps* sweeps;
};

const std::vector<InstructionSet>& runnable() {
  static const std::vector<InstructionSet> sets = [] {
    std::vector<InstructionSet> found{{&portable_kernels(), &portable_sweeps()}};
#if defined(__x86_64__) && defined(__GNUC__)
    __builtin_cpu_init();
    const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
                      __builtin_cpu_supports("f16c");
    if (avx2) found.push_back({&avx2_kernels(), &avx2_sweeps()});
    if (avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl")) {
      found.push_back({&avx512_kernels(), &avx512_sweeps()});
    }
#endif
    return found;
  }();
  return sets;
}

std::atomic<const InstructionSet*>& chosen() {
  static std::atomic<const InstructionSet*> set{&runnable().back()};
  return set;
}

const InstructionSet& current() { return *chosen().load(std::memory_order_relaxed); }

}  // namespace

const RowKernels& kernels() { return *current().kernels; }
const Sweeps& sweeps() { return *current().sweeps; }

std::vector<std::string> instruction_sets() {
  std::vector<std::string> names;
  for (const InstructionSet& set : runnable()) names.push_back(set.kernels->name);
  return names;
}

void use_instruction_set(const std::string& name) {
  chosen().store(&runnable().back());
  for (const InstructionSet& set : runnable()) {
    if (name == set.kernels->name) chosen().store(&set);
  }
}

}  // namespace anydraft::detail
