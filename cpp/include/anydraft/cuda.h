// Verification with everything on the CUDA device: asynchronous on the caller's stream, without a
// host synchronisation or an allocation, so it may be captured in a CUDA graph. The rows' device
// must be current. See verify() for the meaning of all arrays; here they lie on the device.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>

#include "anydraft/verify.h"
#include "anydraft/vocabulary.h"

namespace anydraft {

// SamplingParams as a device needs them; plain data, copied to the device by the caller.
struct DistributionParams {
  float scale = 0;           // log2(e) / temperature; 0: greedy
  int32_t top_k = 0;         // 0: off
  double top_p = 1;          // 1: off
  double min_p_octaves = 0;  // log2(min_p); 0: off
  // Takes mass away from tokens.
  ANYDRAFT_HD bool cuts() const {
    return scale == 0 || top_k > 0 || top_p < 1 || min_p_octaves < 0;
  }
};

inline DistributionParams distribution_params(const SamplingParams& params) {
  if (params.greedy()) return {};
  return {detail::scale_of(params.temperature), params.top_k, params.top_p,
          params.min_p > 0 ? std::log2(params.min_p) : 0};
}

// What became of a request.
enum class CudaStatus : int32_t {
  kFine,
  kTargetRow,   // NaN, +inf, -inf everywhere, or |logit| / temperature out of reach, in a row of
  kDraftRow,    // target_logits or draft_logits: `where`
  kUndrawable,  // a draft token without mass in its own distribution: node `where`
  kMalformed,   // node `where`: parent, token, distribution or number of paths is not one
};

// A map between two vocabularies as kernels read it: copied to the device once, by the caller, for
// all calls. With it a drafter's rows stay in the drafter's ids, and no row over the target's is
// written: each entry is fetched when it is read, as project() of bridge/tli.h would fill it, to
// the bit (token-level intersection, Timor et al. 2025, algorithm 4; several drafter ids of one
// target token are summed). Ids from `draft_vocab` on, the columns of the drafter's logits, have no
// mass. Throws Error(kValue) for empty vocabularies.
std::vector<int32_t> pack_map(const VocabularyMap& map, int64_t target_vocab, int64_t draft_vocab);

// A draft row by itself: rows of one batch may lie in different tensors, be read through different
// maps, and be narrower than the target's vocabulary (ids behind them have no mass).
struct CudaDraftRow {
  const void* data = nullptr;
  DType dtype = DType::kFloat32;
  bool spelt = false;            // `map` is pack_token_trie's
  int64_t size = 0;              // entries; with a map, the target ids that it was packed for
  const int32_t* map = nullptr;  // null: the row's ids are the target's
  TriePlace place{0, 0, 0};      // `spelt`: inside a drafter token, if depth > 0
  RowDistribution weighed{};     // `spelt`: of the drafter's own tokens
  RowDistribution known{};       // what its children were drawn from
};

struct CudaVerifyRequest {
  TreesView trees;
  int64_t nodes = 0;  // offsets[requests], which the host cannot read
  RowsView target_logits;
  ProposalsView proposals;  // ids of a sparse distribution are distinct: not checked here
  RowsView draft_logits;    // [rows, target vocabulary], or the drafter's with a map
  const DistributionParams* sampling = nullptr;        // [requests]
  const DistributionParams* draft_sampling = nullptr;  // [requests]
  Verifier verifier = Verifier::kTraversal;
  UniformsView uniforms;
  // [rows of draft_logits], as sample_cuda_async writes them: the drafter's rows are then not read
  // to normalise them.
  const RowDistribution* draft_distributions = nullptr;
  const int32_t* draft_map = nullptr;  // of pack_map, or of pack_token_trie with:
  // [rows of draft_logits] distributions of the drafter's own tokens, filters included. A row then
  // stands for the first target tokens that those spell (string-level rejection sampling's psi),
  // and draft_sampling holds the temperature alone.
  const RowDistribution* draft_weighed = nullptr;
  // [rows of draft_logits], with draft_weighed: where inside a drafter token a row's distribution
  // stands, as sample_cuda_async tells it. Null: a drafter token begins everywhere.
  const TriePlace* draft_places = nullptr;
  // Rows one by one, in place of the data of target_logits (whose type and columns are those of
  // all) and of draft_logits with what belongs to it.
  const void* const* target_rows = nullptr;  // [nodes]
  const CudaDraftRow* draft_rows =
      nullptr;  // [draft_row_count], none larger than target_logits.cols
  int64_t draft_row_count = 0;
  // Blocks that play one request together, 1, 2, 4 or 8 (more than 1: compute capability 9.0);
  // 0: by the number of requests. The result does not depend on it.
  int splits = 0;
  // Rows are read when the verifier comes to them, not all at once beforehand: less is read where
  // drafts fail early, but by fewer threads. Done anyway where there is no workspace.
  bool lazy = false;
};

struct CudaVerifyResult {
  int32_t* accepted = nullptr;     // [nodes]; a request's path at the front of its slice, then -1
  int32_t* counts = nullptr;       // [requests] nodes in the path
  int64_t* next_tokens = nullptr;  // [requests]; -1 where status is not kFine
  CudaStatus* status = nullptr;    // [requests]
  int32_t* where = nullptr;        // [requests]
  uint8_t* degenerate = nullptr;   // [requests]
  // [nodes], or null: VerifyResult::acceptance. One more launch, which reads every inner node.
  double* acceptance = nullptr;
};

// Bytes of workspace that verify_cuda_async needs; any device memory aligned to 16 that no other
// call in flight uses.
size_t verify_cuda_workspace(const CudaVerifyRequest& request);

// Throws Error(kValue) for arguments that do not fit as a whole, Error(kCudaUnavailable) in a build
// without CUDA; what is wrong with one request its status says.
void verify_cuda_async(const CudaVerifyRequest& request, const CudaVerifyResult& result,
                       void* workspace, size_t workspace_bytes, void* stream);

struct CudaSampleRequest {
  RowsView logits;
  const DistributionParams* params = nullptr;  // [rows]
  // As in verify(): `pick` [rows] are uniforms, else keys a row, `nodes` (null: 0) among them.
  UniformsView uniforms;
  const uint32_t* nodes = nullptr;
  Purpose purpose = Purpose::kTarget;
  int splits = 0;
  // As in CudaVerifyRequest; `vocab` is then the target's, and tokens are target tokens.
  const int32_t* map = nullptr;
  const RowDistribution* weighed = nullptr;
  const TriePlace* places = nullptr;
  int64_t vocab = 0;
};

struct CudaSampleResult {
  int64_t* tokens = nullptr;                 // [rows]; -1 where status is not kFine
  CudaStatus* status = nullptr;              // [rows]; kFine or kTargetRow
  RowDistribution* distributions = nullptr;  // [rows], or null
  // [rows], or null; with a map, the likeliest drafter id that stands for the token (with
  // `weighed`: that begins with it; but see places), else the token; -1: status is not kFine. What
  // a drafter is fed.
  int32_t* drafter_ids = nullptr;
  // [rows], or null; with `weighed`: where the drafter stands behind the token. Then drafter_ids
  // are those of drafter tokens that end with it, by chance as much as they weigh (uniforms as the
  // row's with attempt 1, or UniformsView::select), and -1 where the drafter's token goes on:
  // nothing is fed, and the same row's distribution at that place gives the next token.
  TriePlace* places = nullptr;
};

// One token a row. As above.
size_t sample_cuda_workspace(const CudaSampleRequest& request);
void sample_cuda_async(const CudaSampleRequest& request, const CudaSampleResult& result,
                       void* workspace, size_t workspace_bytes, void* stream);

// sample_rows of rows on the device that is current; uniforms and tokens [rows] lie on the host.
// Waits for the stream.
void sample_cuda(const RowsView& rows, const SamplingParams& params, const double* uniforms,
                 int64_t* tokens, void* stream);

}  // namespace anydraft
