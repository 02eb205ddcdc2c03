// Which function of detail/verifiers.h plays a verifier, and which CUDA kernel plays that: from the
// list.
#pragma once

#include "anydraft/verify.h"

namespace anydraft::detail {

enum class Algorithm : int32_t {
#define ANYDRAFT_ALGORITHM(function, kernel) function,
#include "anydraft/verifiers.def"
#undef ANYDRAFT_ALGORITHM
};

ANYDRAFT_HD constexpr Algorithm algorithm_of(Verifier verifier) {
  switch (verifier) {
#define ANYDRAFT_VERIFIER(name, enumerator, algorithm, ...) \
  case Verifier::enumerator:                                \
    return Algorithm::algorithm;
#include "anydraft/verifiers.def"
#undef ANYDRAFT_VERIFIER
  }
  return Algorithm{-1};
}

enum class CudaKernel : int32_t {
  kReading,    // reads a node's rows once, and again where a drawn child is rejected
  kDeferring,  // likewise; the draw behind a node's last child waits for the whole device
  kSweeping,   // sweeps rows many times
};

ANYDRAFT_HD constexpr CudaKernel kernel_of(Algorithm algorithm) {
  switch (algorithm) {
#define ANYDRAFT_ALGORITHM(function, kernel) \
  case Algorithm::function:                  \
    return CudaKernel::kernel;
#include "anydraft/verifiers.def"
#undef ANYDRAFT_ALGORITHM
  }
  return CudaKernel::kReading;
}
ANYDRAFT_HD constexpr CudaKernel kernel_of(Verifier verifier) {
  return kernel_of(algorithm_of(verifier));
}

}  // namespace anydraft::detail
