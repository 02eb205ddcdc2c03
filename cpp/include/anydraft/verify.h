// Draft trees, the distributions their tokens were proposed from, and their verification.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "anydraft/draft_row.h"
#include "anydraft/rows_view.h"
#include "anydraft/sampling.h"

namespace anydraft {

// Flat arrays over all requests. Node 0 of a request is its root, the last committed token
// (parent -1); a parent stands before its children, siblings stand in verification order, which is
// the order they were drawn in.
struct TreesView {
  const int32_t* tokens = nullptr;   // [nodes]
  const int32_t* parents = nullptr;  // [nodes], index within the request
  const int32_t* offsets = nullptr;  // [requests + 1]
  int64_t requests = 0;
  // [nodes], multipath: how many of the drawn paths run through a node; null: one each.
  const int32_t* paths = nullptr;
  int64_t nodes() const { return offsets[requests]; }
};

// How the children c_1, c_2, ... of one node were proposed; `row` is the draft row of the node.
enum class ProposalKind : int32_t {
  kOneHot,              // each for certain
  kIid,                 // each drawn from the row, duplicates kept
  kWithoutReplacement,  // each drawn from the row without its earlier siblings
  kSpecHub,             // c_1 from the row without c_2, then c_2, the row's likeliest, for certain
  kGreedyK,             // c_1 from the row without the others, then those, the likeliest
  kSparse,              // each drawn from a distribution given as a few ids and masses
};
const char* name_of(ProposalKind kind);

ANYDRAFT_HD constexpr uint32_t bit_of(ProposalKind kind) {
  return uint32_t{1} << static_cast<int32_t>(kind);
}
constexpr uint32_t kAllProposals = 2 * bit_of(ProposalKind::kSparse) - 1;

enum class Verifier : int32_t {
#define ANYDRAFT_VERIFIER(name, enumerator, ...) enumerator,
#include "anydraft/verifiers.def"
#undef ANYDRAFT_VERIFIER
};

enum class DraftShape : int32_t {
  kTree,   // any
  kChain,  // one child a node
  kPaths,  // independent paths, merged where they agree
};

enum VerifierTrait : uint32_t {
  kNoTraits = 0,
  kJoint = 1,  // a node's acceptance is a joint weight: of its path's tokens together
  kSelects =
      2,       // chooses a path first: needs select uniforms, and no node's acceptance can be told
  kRatio = 4,  // K-SEQ's rule of acceptance
  kSums = 8,   // sums over the rows of every node that it visits
};

struct VerifierTraits {
  uint32_t proposals = 0;  // bit_of each kind it takes
  DraftShape shape = DraftShape::kTree;
  uint32_t traits = 0;
  ANYDRAFT_HD constexpr bool has(VerifierTrait trait) const { return (traits & trait) != 0; }
};

// From the list.
ANYDRAFT_HD constexpr VerifierTraits traits_of(Verifier verifier) {
  switch (verifier) {
#define ANYDRAFT_VERIFIER(name, enumerator, algorithm, proposals, shape, traits, ...) \
  case Verifier::enumerator:                                                          \
    return {proposals, DraftShape::shape, traits};
#include "anydraft/verifiers.def"
#undef ANYDRAFT_VERIFIER
  }
  return {};
}

struct VerifierInfo {
  const char* name;
  Verifier verifier;
  std::string proposals;  // names of the kinds it takes, separated by ", "
  const char* shapes;     // of the drafts
  const char* devices;
  const char* cost;    // beyond reading each row it needs once
  const char* source;  // where it was published
};
const std::vector<VerifierInfo>& verifiers();  // from verifiers.def, the one list
Verifier verifier_by_name(const std::string& name);
ANYDRAFT_HD constexpr bool takes(Verifier verifier, ProposalKind kind) {
  return (traits_of(verifier).proposals & bit_of(kind)) != 0;
}

// The distribution of each node's children: kinds[node], and rows[node] the row of draft_logits it
// belongs to (not read for kOneHot, kSparse and leaves).
struct ProposalsView {
  const ProposalKind* kinds = nullptr;  // [nodes]
  const int32_t* rows = nullptr;        // [nodes]
  // kSparse: ids[offsets[node] .. offsets[node + 1]) with their masses, which are renormalised.
  const int32_t* sparse_offsets = nullptr;  // [nodes + 1]; null: no such distribution
  const int32_t* ids = nullptr;
  const double* masses = nullptr;
};

// Either keys (seed, request number and position a request) or the uniforms themselves, each in
// (0, 1).
struct UniformsView {
  uint64_t seed = 0;
  const uint64_t* seeds = nullptr;      // [requests]; null: `seed` for all
  const uint32_t* requests = nullptr;   // [requests]; null: 0, 1, ...
  const uint32_t* positions = nullptr;  // [requests]; null: all 0
  const double* accept = nullptr;       // [nodes], by the node that is judged
  const double* pick = nullptr;    // [nodes], by the node where the verifier ends (match: passes)
  const double* select = nullptr;  // [nodes], multipath: by the node whose child is chosen
};

struct VerifyRequest {
  TreesView trees;
  RowsView target_logits;  // [nodes, vocab]
  ProposalsView proposals;
  RowsView draft_logits;  // [rows, vocab]; data null where no distribution needs it
  // On the CPU rows may lie anywhere, be narrower than the vocabulary (ids behind them have no
  // mass) and, drafters', be read through a projection. In place of target_logits and draft_logits:
  const RowView* target_rows = nullptr;         // [nodes]
  const DraftRow* const* draft_rows = nullptr;  // [draft_row_count], what proposals.rows index
  int64_t draft_row_count = 0;
  int64_t vocab = 0;  // of the target; 0: columns of target_logits
  // One for all requests, or, where params_per_request, arrays [requests].
  const SamplingParams* sampling = nullptr;
  const SamplingParams* draft_sampling = nullptr;
  bool params_per_request = false;
  Verifier verifier = Verifier::kTraversal;
  UniformsView uniforms;
  bool report_status = false;    // a request that fails says so, the others go on
  bool want_acceptance = false;  // fill VerifyResult::acceptance

  int64_t vocabulary() const { return vocab > 0 ? vocab : target_logits.cols; }
  RowView target_row(int64_t node) const {
    return target_rows ? target_rows[node] : target_logits.at(node);
  }
  int64_t draft_rows_given() const { return draft_rows ? draft_row_count : draft_logits.rows; }
  const SamplingParams& target_params(int64_t request) const {
    return sampling[params_per_request ? request : 0];
  }
  const SamplingParams& draft_params(int64_t request) const {
    return draft_sampling[params_per_request ? request : 0];
  }
};

struct VerifyResult {
  std::vector<int32_t> accepted;     // nodes of the kept paths without the roots, flat
  std::vector<int32_t> offsets;      // [requests + 1] into accepted
  std::vector<int64_t> next_tokens;  // [requests]; -1 where the request failed
  std::vector<std::string> status;   // [requests], report_status: what failed; empty: nothing
  std::vector<uint8_t> degenerate;   // [requests]: a residual was nothing but rounding, and kept
  // [nodes], on request: the probability a node is accepted with once it is offered, i.e. once its
  // parent is reached and its earlier siblings are rejected (traversal: its joint weight; roots 1).
  std::vector<double> acceptance;
};

// Pure: the same arguments give the same result, whatever else is in the batch. Throws
// Error(kValue) for arrays that do not fit each other or a token its own distribution cannot
// propose, and Error(kNonFiniteLogits) for a bad row that the verifier reads; with report_status
// only for arrays that do not fit as a whole.
VerifyResult verify(const VerifyRequest& request);
void verify(const VerifyRequest& request, VerifyResult& result);  // reuses result's memory
// On the CUDA device that holds the rows, which is current; the small arrays lie on the host, and
// the host waits for the result (cuda.h: without waiting). Throws
// Error(kCudaUnavailable) in a build without CUDA.
VerifyResult verify_cuda(const VerifyRequest& request, void* stream);
bool cuda_built();

}  // namespace anydraft
