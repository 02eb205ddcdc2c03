// The CUDA engine's symbols in a build without CUDA.
#include "anydraft/error.h"
#include "anydraft/verify.h"

namespace anydraft {

VerifyResult verify_cuda(const VerifyRequest&, void*) {
  throw Error(ErrorKind::kCudaUnavailable,
              "[verify] expected rows in CPU memory, got CUDA rows: this build has no CUDA; "
              "reinstall with ANYDRAFT_CUDA=ON and nvcc on the PATH");
}
bool cuda_built() { return false; }

}  // namespace anydraft
