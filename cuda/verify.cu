// verify_cuda: one block a request plays the walk of detail/walks.h. See README.md for its cost.
#include <cuda_runtime.h>

#include <memory>
#include <string>
#include <vector>

#include "anydraft/error.h"
#include "block_rows.cuh"
#include "rows/cpu_rows.h"
#include "verify/check.h"

namespace anydraft {
namespace {

using detail::Batch;
using detail::Scratch;

constexpr int kThreads = 256;

struct DeviceBlock {
  __device__ int thread() const { return static_cast<int>(threadIdx.x); }
  __device__ int threads() const { return static_cast<int>(blockDim.x); }
  __device__ void sync() { __syncthreads(); }
  __device__ double fold(double value) {
    for (int step = 16; step > 0; step /= 2) value += __shfl_xor_sync(0xffffffffu, value, step);
    return value;
  }
};

__global__ void __launch_bounds__(kThreads) verify_kernel(Batch batch) {
  __shared__ Scratch scratch;
  DeviceBlock block;
  detail::play_request(block, scratch, batch, blockIdx.x);
}

void check_cuda(cudaError_t status, const char* what) {
  if (status == cudaSuccess) return;
  const bool absent = status == cudaErrorNoDevice || status == cudaErrorInsufficientDriver;
  throw Error(absent ? ErrorKind::kCudaUnavailable : ErrorKind::kValue,
              std::string("[verify] ") + what + ": " + cudaGetErrorString(status));
}

// Memory of one call, freed in the order of the stream.
class Arena {
 public:
  explicit Arena(cudaStream_t stream) : stream_(stream) {}
  ~Arena() {
    for (void* block : blocks_) cudaFreeAsync(block, stream_);
  }
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;

  template <class T>
  T* take(size_t count) {
    void* block = nullptr;
    check_cuda(cudaMallocAsync(&block, count * sizeof(T), stream_), "device memory");
    blocks_.push_back(block);
    return static_cast<T*>(block);
  }
  template <class T>
  T* upload(const T* from, size_t count) {
    T* to = take<T>(count);
    check_cuda(cudaMemcpyAsync(to, from, count * sizeof(T), cudaMemcpyHostToDevice, stream_),
               "upload");
    return to;
  }

 private:
  cudaStream_t stream_;
  std::vector<void*> blocks_;
};

void check_supported(const VerifyRequest& request) {
  for (const SamplingParams* params : {&request.sampling, &request.draft_sampling}) {
    if (params->top_k > 0 || params->top_p < 1 || params->min_p > 0) {
      throw Error(ErrorKind::kValue,
                  "[verify] expected temperature only on CUDA rows, got top_k, top_p or min_p: "
                  "not supported there yet; move the rows to the CPU");
    }
  }
  if (detail::chunks_of(request.target_logits.cols) > detail::kMaxChunks) {
    throw Error(ErrorKind::kValue, "[verify] expected at most 1048576 tokens on CUDA rows, got " +
                                       std::to_string(request.target_logits.cols));
  }
}

}  // namespace

bool cuda_built() { return true; }

VerifyResult verify_cuda(const VerifyRequest& request, void* stream_handle) {
  detail::check(request);
  check_supported(request);
  VerifyResult result;
  result.offsets.push_back(0);
  const size_t requests = request.trees.requests, nodes = request.trees.nodes();
  if (requests == 0) return result;
  auto stream = static_cast<cudaStream_t>(stream_handle);
  std::vector<int32_t> first_child(nodes), next_sibling(nodes);
  std::vector<uint32_t> keys(requests), positions(requests, 0);
  for (size_t i = 0; i < requests; ++i) {
    const int32_t begin = request.trees.offsets[i];
    detail::link_children(request.trees.parents + begin, request.trees.offsets[i + 1] - begin,
                          first_child.data() + begin, next_sibling.data() + begin);
    keys[i] = request.coins.requests ? request.coins.requests[i] : static_cast<uint32_t>(i);
    if (request.coins.positions) positions[i] = request.coins.positions[i];
  }
  Arena arena(stream);
  Batch batch{};
  batch.tokens = arena.upload(request.trees.tokens, nodes);
  batch.parents = arena.upload(request.trees.parents, nodes);
  batch.first_child = arena.upload(first_child.data(), nodes);
  batch.next_sibling = arena.upload(next_sibling.data(), nodes);
  batch.kinds = arena.upload(request.laws.kinds, nodes);
  batch.law_rows = arena.upload(request.laws.rows, nodes);
  batch.z = arena.take<double>(nodes);
  if (request.coins.accept) batch.accept = arena.upload(request.coins.accept, nodes);
  if (request.coins.pick) batch.pick = arena.upload(request.coins.pick, nodes);
  batch.offsets = arena.upload(request.trees.offsets, requests + 1);
  batch.requests = arena.upload(keys.data(), requests);
  batch.positions = arena.upload(positions.data(), requests);
  batch.seed = request.coins.seed;
  batch.target = request.target_logits;
  batch.draft = request.draft_logits;
  batch.target_temperature = request.sampling.temperature;
  batch.draft_temperature = request.draft_sampling.temperature;
  batch.verifier = request.verifier;
  batch.walked = arena.take<detail::Walked>(requests);
  batch.bad_row = arena.take<int32_t>(requests);
  verify_kernel<<<static_cast<unsigned>(requests), kThreads, 0, stream>>>(batch);
  check_cuda(cudaGetLastError(), "launch");
  std::vector<detail::Walked> walked(requests);
  std::vector<int32_t> bad_row(requests);
  check_cuda(cudaMemcpyAsync(walked.data(), batch.walked, requests * sizeof(detail::Walked),
                             cudaMemcpyDeviceToHost, stream),
             "download");
  check_cuda(cudaMemcpyAsync(bad_row.data(), batch.bad_row, requests * sizeof(int32_t),
                             cudaMemcpyDeviceToHost, stream),
             "download");
  check_cuda(cudaStreamSynchronize(stream), "verify_kernel");
  for (size_t i = 0; i < requests; ++i) {
    detail::check_rows(request, bad_row[i]);
    detail::append_path(request, static_cast<int64_t>(i), walked[i], result);
  }
  return result;
}

}  // namespace anydraft
