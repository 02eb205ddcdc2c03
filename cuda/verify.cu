// Verification on a CUDA device. All rows are read once; then a block or a cluster plays a verifier
// of detail/verifiers.h for each request. README.md says what that costs.
#include <string>

#include "anydraft/error.h"
#include "kernels.h"

namespace anydraft {
namespace {

void expect(bool holds, const std::string& expected, int64_t got) {
  if (holds) return;
  throw Error(ErrorKind::kValue, "[verify] expected " + expected + ", got " + std::to_string(got));
}

void check(const CudaVerifyRequest& request, bool tells) {
  const int64_t vocab = request.target_logits.cols, drafts = request.draft_logits.cols;
  expect(request.target_rows || request.target_logits.rows == request.nodes,
         "target_logits [" + std::to_string(request.nodes) + ", vocab]",
         request.target_logits.rows);
  expect(!request.draft_logits.data || request.draft_map || drafts == vocab,
         "draft_logits [rows, " + std::to_string(vocab) + "] where there is no map", drafts);
  expect(!request.draft_weighed || request.draft_map,
         "a map with distributions of the drafter's tokens", 0);
  expect(!request.draft_places || request.draft_weighed,
         "places with distributions of the drafter's tokens", 0);
  expect(!tells || !traits_of(request.verifier).has(kSelects),
         "a verifier whose nodes' acceptance can be told", 0);
}

}  // namespace

void detail::launch_verifier(const Batch& batch, void* stream) {
  switch (algorithm_of(batch.request.verifier)) {
#define ANYDRAFT_ALGORITHM(function, kernel) \
  case Algorithm::function:                  \
    return launch_verifier<CudaKernel::kernel>(batch, stream);
#include "anydraft/verifiers.def"
#undef ANYDRAFT_ALGORITHM
  }
}

bool cuda_built() { return true; }

size_t verify_cuda_workspace(const CudaVerifyRequest& request) {
  return detail::workspace_of(request);
}

void verify_cuda_async(const CudaVerifyRequest& request, const CudaVerifyResult& result,
                       void* workspace, size_t workspace_bytes, void* stream) {
  check(request, result.acceptance);
  detail::check_call("[verify]", request.target_logits.cols, workspace_bytes,
                     detail::workspace_of(request));
  if (request.trees.requests == 0) return;
  const detail::Batch batch = detail::batch_of(request, result, workspace);
  if (batch.workspace.parts) detail::launch_distributions(batch, stream);
  detail::launch_verifier(batch, stream);
  if (result.acceptance) detail::launch_acceptance(batch, stream);
}

}  // namespace anydraft
