// Verification on a CUDA device: one block a request plays the walks of detail/walks.h. See
// README.md for what that costs.
#include <cuda_runtime.h>

#include <string>

#include "anydraft/error.h"
#include "block_rows.cuh"
#include "device_block.cuh"
#include "launch.h"

namespace anydraft {
namespace {

using detail::Batch;

constexpr int kThreads = 512;

template <Verifier verifier>
__global__ void __launch_bounds__(kThreads) verify_kernel(const __grid_constant__ Batch batch) {
  __shared__ detail::Scratch scratch;
  detail::DeviceBlock block;
  detail::play_request(block, scratch, batch, blockIdx.x, verifier);
}

auto kernel_of(Verifier verifier) {
  switch (verifier) {
    case Verifier::kMatch:
      return verify_kernel<Verifier::kMatch>;
    case Verifier::kTraversal:
    case Verifier::kBlock:
      return verify_kernel<Verifier::kTraversal>;
    case Verifier::kMultipath:
      return verify_kernel<Verifier::kMultipath>;
    case Verifier::kKseq:
      return verify_kernel<Verifier::kKseq>;
    case Verifier::kTopDown:
      break;
  }
  return verify_kernel<Verifier::kTopDown>;
}

[[noreturn]] void fail(const std::string& expected, int64_t got) {
  throw Error(ErrorKind::kValue, "[verify] expected " + expected + ", got " + std::to_string(got));
}

}  // namespace

bool cuda_built() { return true; }

size_t verify_cuda_room(const CudaVerifyRequest& request) { return detail::room_of(request); }

void verify_cuda_async(const CudaVerifyRequest& request, const CudaVerifyResult& result, void* room,
                       size_t room_bytes, void* stream) {
  const int64_t vocab = request.target_logits.cols;
  if (vocab < 1 || detail::chunks_of(vocab) > detail::kMaxChunks) {
    fail("a vocabulary of 1 to 1048576 tokens on CUDA rows", vocab);
  }
  if (request.target_logits.rows != request.nodes) {
    fail("target_logits [" + std::to_string(request.nodes) + ", vocab]",
         request.target_logits.rows);
  }
  if (request.draft_logits.data && request.draft_logits.cols != vocab) {
    fail("draft_logits [rows, " + std::to_string(vocab) + "]", request.draft_logits.cols);
  }
  if (room_bytes < detail::room_of(request)) {
    fail("at least " + std::to_string(detail::room_of(request)) + " bytes of room",
         static_cast<int64_t>(room_bytes));
  }
  if (request.trees.requests == 0) return;
  const Batch batch = detail::batch_of(request, result, room);
  const auto blocks = static_cast<unsigned>(request.trees.requests);
  kernel_of(request.verifier)<<<blocks, kThreads, 0, static_cast<cudaStream_t>(stream)>>>(batch);
  detail::check_cuda(cudaGetLastError(), "verify_kernel");
}

}  // namespace anydraft
