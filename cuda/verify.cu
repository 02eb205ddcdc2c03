// Verification on a CUDA device: all rows are read once, then a block or a cluster a request plays
// the walks of detail/walks.h. See README.md for what that costs.
#include <cuda_runtime.h>

#include <string>

#include "anydraft/error.h"
#include "device_block.cuh"
#include "launch.h"
#include "play_request.cuh"
#include "split.cuh"

namespace anydraft {
namespace {

using detail::Batch;

constexpr int kThreads = 256, kScanThreads = 128;

__global__ void __launch_bounds__(kThreads)
    verify_kernel(const __grid_constant__ Batch batch, int splits) {
  __shared__ detail::Scratch scratch;
  detail::play_as(splits, splits, scratch, [&](auto& block, detail::Scratch& shared) {
    detail::play_request(block, shared, batch, blockIdx.x / splits);
  });
}

template <int width>
__global__ void __launch_bounds__(kScanThreads) scan_kernel(const __grid_constant__ Batch batch) {
  detail::DeviceBlock block(1);
  const int64_t thread = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  detail::scan_unit<width>(block, batch, thread / detail::kLanes);
}

__global__ void __launch_bounds__(kThreads)
    laws_kernel(const __grid_constant__ Batch batch, int splits) {
  __shared__ detail::Scratch scratch;
  const int64_t unit = blockIdx.x / splits;
  const int used = detail::cuts(batch.request, unit) ? splits : 1;
  detail::play_as(splits, used, scratch, [&](auto& block, detail::Scratch& shared) {
    detail::finish_law(block, shared, batch, unit);
  });
}

template <int width>
void scan(const Batch& batch, void* stream) {
  const int64_t units = detail::units_of(batch.request, width);
  const int64_t warps = kScanThreads / detail::kLanes;
  detail::launch(scan_kernel<width>, (units + warps - 1) / warps, kScanThreads, 1, stream,
                 "scan_kernel", batch);
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
  if (batch.room.parts) {
    const bool few = request.nodes * vocab < detail::kFewEntries;
    few ? scan<detail::kNarrow>(batch, stream) : scan<detail::kWide>(batch, stream);
    const int64_t laws = detail::laws_of(request);
    const int splits = detail::splits_for(laws, 0);
    detail::launch(laws_kernel, laws * splits, kThreads, splits, stream, "laws_kernel", batch,
                   splits);
  }
  const int splits = detail::splits_for(request.trees.requests, request.splits);
  detail::launch(verify_kernel, request.trees.requests * splits, kThreads, splits, stream,
                 "verify_kernel", batch, splits);
}

}  // namespace anydraft
