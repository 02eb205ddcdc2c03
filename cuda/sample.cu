// Sampling on a CUDA device. All rows are read once; then a block or a cluster draws from each row.
#include <cuda_runtime.h>

#include <string>
#include <vector>

#include "anydraft/error.h"
#include "device_block.cuh"
#include "launch.h"
#include "sample.cuh"

namespace anydraft {
namespace {

using detail::kScanThreads;
using detail::kThreads;
using detail::SampleBatch;

__global__ void __launch_bounds__(kThreads)
    sample_kernel(const __grid_constant__ SampleBatch batch, int splits) {
  detail::follow();
  __shared__ detail::Scratch scratch;
  const int64_t row = blockIdx.x / splits;
  const int used = batch.request.params[row].cuts() ? splits : 1;
  detail::play_as(splits, used, scratch, [&](auto& block, detail::Scratch& shared) {
    detail::sample_row(block, shared, batch, row);
  });
}

template <int width>
__global__ void __launch_bounds__(kScanThreads)
    scan_kernel(const __grid_constant__ SampleBatch batch) {
  detail::follow();
  detail::DeviceBlock block(1);
  detail::scan_sample_unit<width>(block, batch, detail::thread_of_grid() / detail::kLanes);
}

__global__ void __launch_bounds__(kThreads)
    scan_chunk_kernel(const __grid_constant__ SampleBatch batch) {
  detail::follow();
  __shared__ detail::ChunkScratch scratch;
  detail::DeviceBlock block(1);
  detail::scan_sample_chunk(block, scratch, batch, blockIdx.x);
}

}  // namespace

size_t sample_cuda_workspace(const CudaSampleRequest& request) {
  return request.logits.rows * detail::chunks_of(detail::vocab_of(request)) * sizeof(detail::Part);
}

void sample_cuda_async(const CudaSampleRequest& request, const CudaSampleResult& result,
                       void* workspace, size_t workspace_bytes, void* stream) {
  const RowsView& rows = request.logits;
  const int64_t vocab = detail::vocab_of(request);
  detail::check_call("[sample]", vocab, workspace_bytes, sample_cuda_workspace(request));
  if (rows.rows == 0) return;
  const bool places = request.places || result.places;
  if (places && (!request.weighed || (request.uniforms.pick && !request.uniforms.select))) {
    throw Error(
        ErrorKind::kValue,
        "[sample] expected distributions of the drafter's tokens with places, and select uniforms "
        "where uniforms are given, got none");
  }
  const SampleBatch batch{request, result, static_cast<detail::Part*>(workspace)};
  detail::launch_scan(
      scan_chunk_kernel, scan_kernel<detail::kNarrow>, scan_kernel<detail::kWide>,
      rows.rows * vocab, rows.rows * detail::chunks_of(vocab),
      [&](int width) { return rows.rows * detail::units_a_row(request, width); }, stream, batch);
  detail::launch_blocks(sample_kernel, detail::After::kOwn, rows.rows, request.splits, stream,
                        "sample_kernel", batch);
}

void sample_cuda(const RowsView& rows, const SamplingParams& params, const double* uniforms,
                 int64_t* tokens, void* stream_handle) {
  params.validate();
  if (rows.rows == 0) return;
  auto stream = static_cast<cudaStream_t>(stream_handle);
  CudaSampleRequest request;
  request.logits = rows;
  const std::vector<DistributionParams> each(rows.rows, distribution_params(params));
  detail::Parcel up;
  up.add<DistributionParams>(request.params, each.data(), rows.rows);
  up.add(request.uniforms.pick, uniforms, rows.rows);
  const size_t workspace = sample_cuda_workspace(request), down = rows.rows * 12;
  const detail::DeviceMemory memory(up.size() + workspace + down, stream);
  char* at = memory.data();
  detail::check_cuda(cudaMemcpyAsync(at, up.data(), up.size(), cudaMemcpyHostToDevice, stream),
                     "upload");
  up.place(at);
  at += up.size();
  auto* drawn = reinterpret_cast<int64_t*>(at + workspace);
  auto* status = reinterpret_cast<CudaStatus*>(drawn + rows.rows);
  sample_cuda_async(request, {drawn, status}, at, workspace, stream);
  std::vector<CudaStatus> said(rows.rows);
  detail::check_cuda(
      cudaMemcpyAsync(tokens, drawn, rows.rows * sizeof *tokens, cudaMemcpyDeviceToHost, stream),
      "download");
  detail::check_cuda(cudaMemcpyAsync(said.data(), status, rows.rows * sizeof(CudaStatus),
                                     cudaMemcpyDeviceToHost, stream),
                     "download");
  detail::check_cuda(cudaStreamSynchronize(stream), "sample_kernel");
  for (int64_t row = 0; row < rows.rows; ++row) {
    if (said[row] == CudaStatus::kFine) continue;
    throw Error(ErrorKind::kNonFiniteLogits,
                "[sample] expected finite logits (or -inf for masked tokens), and |logit| / "
                "temperature below 2.9e6, got others in row " +
                    std::to_string(rows.named_from + row));
  }
}

}  // namespace anydraft
