// The CUDA engine's symbols in a build without CUDA.
#include "anydraft/cuda.h"
#include "anydraft/error.h"
#include "rows/row_backend.h"

namespace anydraft {
namespace {

[[noreturn]] void fail() {
  throw Error(ErrorKind::kCudaUnavailable,
              "[verify] expected rows in CPU memory, got CUDA rows: this build has no CUDA; "
              "reinstall with ANYDRAFT_CUDA=ON and nvcc on the PATH");
}

}  // namespace

bool cuda_built() { return false; }
VerifyResult verify_cuda(const VerifyRequest&, void*) { fail(); }
size_t verify_cuda_workspace(const CudaVerifyRequest&) { fail(); }
void verify_cuda_async(const CudaVerifyRequest&, const CudaVerifyResult&, void*, size_t, void*) {
  fail();
}

size_t sample_cuda_workspace(const CudaSampleRequest&) { fail(); }
void sample_cuda_async(const CudaSampleRequest&, const CudaSampleResult&, void*, size_t, void*) {
  fail();
}
void sample_cuda(const RowsView&, const SamplingParams&, const double*, int64_t*, void*) { fail(); }
std::unique_ptr<RowBackend> make_cuda_backend() { fail(); }

}  // namespace anydraft
