// verify_cuda: trees on the host, rows on the device, results on the host.
#include <cuda_runtime.h>

#include <string>
#include <vector>

#include "anydraft/cuda.h"
#include "anydraft/error.h"
#include "kernels.h"
#include "verify/check.h"

namespace anydraft {

Error detail::error_of(CudaStatus status, int64_t request, int64_t where) {
  if (status == CudaStatus::kTargetRow || status == CudaStatus::kDraftRow) {
    return Error(ErrorKind::kNonFiniteLogits,
                 std::string("[verify] expected finite logits (or -inf for masked tokens), and "
                             "|logit| / temperature below 2.9e6, got others in ") +
                     (status == CudaStatus::kTargetRow ? "target row " : "draft row ") +
                     std::to_string(where));
  }
  const std::string expected =
      status == CudaStatus::kUndrawable
          ? "a draft token with mass in its own distribution, got one without"
          : "a tree that can be followed, got another";
  return Error(ErrorKind::kValue, "[verify] expected " + expected + " at request " +
                                      std::to_string(request) + ", node " + std::to_string(where));
}

namespace {

using detail::check_cuda;

// Copies a request's arrays to the device at once, and its result back at once.
class HostCall {
 public:
  explicit HostCall(const VerifyRequest& from) : from_(from) {
    const size_t nodes = from.trees.nodes(), requests = from.trees.requests;
    for (size_t i = 0; i < requests; ++i) {
      target_.push_back(distribution_params(from.target_params(static_cast<int64_t>(i))));
      draft_.push_back(distribution_params(from.draft_params(static_cast<int64_t>(i))));
    }
    to_.trees.requests = from.trees.requests;
    to_.nodes = from.trees.nodes();
    to_.target_logits = from.target_logits;
    to_.draft_logits = from.draft_logits;
    to_.verifier = from.verifier;
    to_.uniforms.seed = from.uniforms.seed;
    up_.add(to_.trees.tokens, from.trees.tokens, nodes);
    up_.add(to_.trees.parents, from.trees.parents, nodes);
    up_.add(to_.trees.offsets, from.trees.offsets, requests + 1);
    up_.add(to_.trees.paths, from.trees.paths, nodes);
    up_.add(to_.proposals.kinds, from.proposals.kinds, nodes);
    up_.add(to_.proposals.rows, from.proposals.rows, nodes);
    const size_t sparse = from.proposals.sparse_offsets ? from.proposals.sparse_offsets[nodes] : 0;
    up_.add(to_.proposals.sparse_offsets, from.proposals.sparse_offsets, nodes + 1);
    up_.add(to_.proposals.ids, from.proposals.ids, sparse);
    up_.add(to_.proposals.masses, from.proposals.masses, sparse);
    up_.add<DistributionParams>(to_.sampling, target_.data(), requests);
    up_.add<DistributionParams>(to_.draft_sampling, draft_.data(), requests);
    up_.add(to_.uniforms.seeds, from.uniforms.seeds, requests);
    up_.add(to_.uniforms.requests, from.uniforms.requests, requests);
    up_.add(to_.uniforms.positions, from.uniforms.positions, requests);
    up_.add(to_.uniforms.accept, from.uniforms.accept, nodes);
    up_.add(to_.uniforms.pick, from.uniforms.pick, nodes);
    up_.add(to_.uniforms.select, from.uniforms.select, nodes);
  }

  void run(cudaStream_t stream) {
    const size_t nodes = to_.nodes, requests = to_.trees.requests;
    const size_t result = requests * 24 + nodes * (from_.want_acceptance ? 12 : 4);
    const size_t down = (result + 15) / 16 * 16, workspace = verify_cuda_workspace(to_);
    const detail::DeviceMemory memory(up_.size() + down + workspace, stream);
    char* at = memory.data();
    check_cuda(cudaMemcpyAsync(at, up_.data(), up_.size(), cudaMemcpyHostToDevice, stream),
               "upload");
    up_.place(at);
    at += up_.size();
    verify_cuda_async(to_, result_at(at), at + down, workspace, stream);
    bytes_.resize(result / 8 + 1);
    check_cuda(cudaMemcpyAsync(bytes_.data(), at, result, cudaMemcpyDeviceToHost, stream),
               "download");
    check_cuda(cudaStreamSynchronize(stream), "verify_kernel");
    got_ = result_at(reinterpret_cast<char*>(bytes_.data()));
  }

  const CudaVerifyResult& got() const { return got_; }

 private:
  CudaVerifyResult result_at(char* at) const {
    const size_t nodes = to_.nodes, requests = to_.trees.requests;
    CudaVerifyResult result;
    const auto take = [&](auto*& array, size_t count) {
      array = reinterpret_cast<std::remove_reference_t<decltype(array)>>(at);
      at += count * sizeof *array;
    };
    take(result.next_tokens, requests);
    if (from_.want_acceptance) take(result.acceptance, nodes);
    take(result.counts, requests);
    take(result.status, requests);
    take(result.where, requests);
    take(result.accepted, nodes);
    take(result.degenerate, requests);
    return result;
  }

  const VerifyRequest& from_;
  std::vector<DistributionParams> target_, draft_;
  CudaVerifyRequest to_;
  detail::Parcel up_;
  std::vector<uint64_t> bytes_;
  CudaVerifyResult got_;
};

}  // namespace

VerifyResult verify_cuda(const VerifyRequest& request, void* stream) {
  if (request.target_rows || request.draft_rows || request.vocab) {
    throw Error(
        ErrorKind::kValue,
        "[verify] expected target_logits and draft_logits on a CUDA device, got rows one by "
        "one; CudaVerifyRequest takes rows with a map");
  }
  detail::check(request);
  VerifyResult result;
  const int64_t requests = request.trees.requests;
  result.offsets.push_back(0);
  result.status.assign(request.report_status ? requests : 0, {});
  if (requests == 0) return result;
  std::vector<std::string> refused(requests);  // what the device does not look for
  for (int64_t i = 0; i < requests && request.report_status; ++i) {
    try {
      detail::check_request(request, i);
    } catch (const Error& error) {
      refused[i] = error.what();
    }
  }
  HostCall call(request);
  call.run(static_cast<cudaStream_t>(stream));
  const CudaVerifyResult& got = call.got();
  for (int64_t i = 0; i < requests; ++i) {
    const bool fine = got.status[i] == CudaStatus::kFine && refused[i].empty();
    if (!refused[i].empty()) {
      result.status[i] = refused[i];
    } else if (!fine) {
      const Error error = detail::error_of(got.status[i], i, got.where[i]);
      if (!request.report_status) throw error;
      result.status[i] = error.what();
    }
    const int32_t* path = got.accepted + request.trees.offsets[i];
    if (fine) result.accepted.insert(result.accepted.end(), path, path + got.counts[i]);
    result.offsets.push_back(static_cast<int32_t>(result.accepted.size()));
    result.next_tokens.push_back(fine ? got.next_tokens[i] : -1);
    result.degenerate.push_back(fine && got.degenerate[i]);
    for (int32_t node = request.trees.offsets[i];
         got.acceptance && node < request.trees.offsets[i + 1]; ++node) {
      result.acceptance.push_back(fine ? got.acceptance[node] : 0);
    }
  }
  return result;
}

}  // namespace anydraft
