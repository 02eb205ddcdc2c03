// Draft trees, the laws their tokens were proposed from, and their verification.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "anydraft/rows_view.h"
#include "anydraft/sampling.h"

namespace anydraft {

// Flat arrays over all requests. Node 0 of a request is its root, the last committed token
// (parent -1); a parent stands before its children, siblings stand in verification order.
struct TreesView {
  const int32_t* tokens = nullptr;   // [nodes]
  const int32_t* parents = nullptr;  // [nodes], index within the request
  const int32_t* offsets = nullptr;  // [requests + 1]
  int64_t requests = 0;
  int64_t nodes() const { return offsets[requests]; }
};

enum class LawKind : int32_t { kOneHot, kRow };
enum class Verifier : int32_t { kTopDown, kMatch };

struct VerifierInfo {
  const char* name;
  Verifier verifier;
  const char* laws;    // kinds it takes, separated by ", "
  const char* source;  // where it was published
};
const std::vector<VerifierInfo>& verifiers();  // from verifiers.def, the one list
Verifier verifier_by_name(const std::string& name);

// The law of each node's children: laws[node] says which kind, rows[node] which row of draft_logits
// (-1 where one-hot). Entries of leaves are not read.
struct LawsView {
  const LawKind* kinds = nullptr;  // [nodes]
  const int32_t* rows = nullptr;   // [nodes]
};

// Either keys (seed and one request number and position a request) or the coins themselves.
struct CoinsView {
  uint64_t seed = 0;
  const uint32_t* requests = nullptr;   // [requests]; null: 0, 1, ...
  const uint32_t* positions = nullptr;  // [requests]; null: all 0
  const double* accept = nullptr;       // [nodes], by child
  const double* pick = nullptr;         // [nodes], by the node where the walk ends (match: passes)
};

struct VerifyRequest {
  TreesView trees;
  RowsView target_logits;  // [nodes, vocab]
  LawsView laws;
  RowsView draft_logits;  // [rows, vocab]; data null where all laws are one-hot
  SamplingParams sampling;
  SamplingParams draft_sampling;
  Verifier verifier = Verifier::kTopDown;
  CoinsView coins;
};

struct VerifyResult {
  std::vector<int32_t> accepted;     // nodes of the kept paths without the roots, flat
  std::vector<int32_t> offsets;      // [requests + 1] into accepted
  std::vector<int64_t> next_tokens;  // [requests]
};

// Pure: the same arguments give the same result. Throws Error(kValue) for arrays that do not fit
// each other and Error(kNonFiniteLogits) for a bad row that the walk reads.
VerifyResult verify(const VerifyRequest& request);
// On the CUDA device that holds the rows; the small arrays lie on the host. Chains and trees, both
// walks; temperature only. Throws Error(kCudaUnavailable) in a build without CUDA.
VerifyResult verify_cuda(const VerifyRequest& request, void* stream);
bool cuda_built();

}  // namespace anydraft
