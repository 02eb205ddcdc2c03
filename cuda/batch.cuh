// What a launch of the verifier works on: the request, where its result goes, and workspace.
#pragma once

#include "anydraft/cuda.h"
#include "anydraft/detail/algorithms.h"
#include "anydraft/detail/play.h"
#include "block.cuh"

namespace anydraft::detail {

struct NodeDistributions {
  Distribution target, draft;
  bool bad_target, bad_draft;
  bool loaded;  // where rows are read on demand: this node's are read
};

// A draw from the residual behind a node's last child. It waits until the whole device sweeps the
// rows, since the verifier's own few blocks would take long.
struct DeferredDraw {
  Residual before, after;  // the child's rejection; `after` is not summed yet
  double uniform;
  uint64_t swept;  // chunks swept so far
  bool waits;
};

// Workspace of a batch, [nodes] each unless said otherwise.
struct Workspace {
  NodeDistributions* distributions;
  Residual* saved;
  Selection* selections;  // multipath only
  int32_t *first_child, *next_sibling;
  uint8_t* spent;
  DeferredDraw* deferred;  // [requests]; null: nothing is deferred
  double* left;            // [requests, chunks] totals of those residuals
  Part* parts;             // [nodes, target and draft row, chunks]; null: rows are read when needed
};

struct Batch {
  CudaVerifyRequest request;
  CudaVerifyResult result;
  Workspace workspace;
  uint32_t kinds;  // bit k: the verifier takes ProposalKind k

  ANYDRAFT_HD Part* parts(int64_t node, bool draft) const {
    if (!workspace.parts) return nullptr;
    return workspace.parts + (2 * node + draft) * chunks_of(request.target_logits.cols);
  }
};

// A distribution whose row has not been read yet.
ANYDRAFT_HD inline Distribution unread_target(const CudaVerifyRequest& all, int64_t index,
                                              float scale) {
  const RowsView& rows = all.target_logits;
  const void* row = all.target_rows ? all.target_rows[index] : rows.row(index);
  return distribution_from(RowDistribution{scale, 0, 0, -1, 0}, row, rows.dtype, rows.cols);
}
// A draft row as its parts say how to read it; its distribution is `known`.
ANYDRAFT_HD inline Distribution distribution_of(const CudaDraftRow& row,
                                                const RowDistribution& known) {
  Distribution distribution = distribution_from(known, row.data, row.dtype, row.size);
  distribution.map = row.map;
  if (row.spelt) distribution.weighed = &row.weighed;
  if (row.place.depth > 0) distribution.place = &row.place;
  return distribution;
}
ANYDRAFT_HD inline bool has_draft_rows(const CudaVerifyRequest& all) {
  return all.draft_row_count > 0 || all.draft_logits.data;
}
ANYDRAFT_HD inline int64_t draft_rows_of(const CudaVerifyRequest& all) {
  return all.draft_row_count > 0 ? all.draft_row_count : all.draft_logits.rows;
}
// Whether the distributions of the draft rows were made when they were drawn from.
ANYDRAFT_HD inline bool drafts_known(const CudaVerifyRequest& all) {
  return all.draft_row_count > 0 || all.draft_distributions;
}
ANYDRAFT_HD inline Distribution draft_distribution(const CudaVerifyRequest& all, int64_t index,
                                                   const RowDistribution& known) {
  Distribution distribution = distribution_from(known, all.draft_logits.row(index),
                                                all.draft_logits.dtype, all.target_logits.cols);
  distribution.map = all.draft_map;
  distribution.weighed = all.draft_weighed ? all.draft_weighed + index : nullptr;
  distribution.place = all.draft_places ? all.draft_places + index : nullptr;
  return distribution;
}
ANYDRAFT_HD inline Distribution known_draft(const CudaVerifyRequest& all, int64_t index) {
  if (all.draft_row_count == 0)
    return draft_distribution(all, index, all.draft_distributions[index]);
  return distribution_of(all.draft_rows[index], all.draft_rows[index].known);
}
ANYDRAFT_HD inline Distribution unread_draft(const CudaVerifyRequest& all, int64_t index,
                                             float scale) {
  return draft_distribution(all, index, RowDistribution{scale, 0, 0, -1, 0});
}

// Most workspace for the parts of one request's rows.
constexpr int64_t kMostPartBytes = 48 << 10;

inline int64_t parts_of(const CudaVerifyRequest& request) {
  const int64_t parts = 2 * request.nodes * chunks_of(request.target_logits.cols);
  const int64_t most = kMostPartBytes * request.trees.requests;
  return request.lazy || parts * static_cast<int64_t>(sizeof(Part)) > most ? 0 : parts;
}

// Whether draws may wait for a sweep by the whole device. They may where nothing else needs the
// sum.
inline bool puts_off(const CudaVerifyRequest& request) {
  return kernel_of(request.verifier) == CudaKernel::kDeferring && has_draft_rows(request);
}

// Calls take(pointer of the workspace, count) for each array in it, larger alignments first.
template <class Take>
void for_each_array(Workspace& workspace, const CudaVerifyRequest& request, Take take) {
  take(workspace.parts, parts_of(request));
  const int64_t deferred = puts_off(request) ? request.trees.requests : 0;
  take(workspace.deferred, deferred);
  take(workspace.left, deferred * chunks_of(request.target_logits.cols));
  take(workspace.distributions, request.nodes);
  take(workspace.saved, request.nodes);
  take(workspace.selections, traits_of(request.verifier).has(kSelects) ? request.nodes : 0);
  take(workspace.first_child, request.nodes);
  take(workspace.next_sibling, request.nodes);
  take(workspace.spent, request.nodes);
}

inline size_t workspace_of(const CudaVerifyRequest& request) {
  size_t bytes = 0;
  Workspace workspace{};
  for_each_array(workspace, request, [&](auto*& array, int64_t count) {
    bytes += (static_cast<size_t>(count) * sizeof *array + 15) / 16 * 16;
  });
  return bytes;
}

inline Batch batch_of(const CudaVerifyRequest& request, const CudaVerifyResult& result,
                      void* memory) {
  Batch batch{request, result, {}, 0};
  auto* at = static_cast<char*>(memory);
  for_each_array(batch.workspace, request, [&](auto*& array, int64_t count) {
    if (count == 0) return;
    array = reinterpret_cast<std::remove_reference_t<decltype(array)>>(at);
    at += (static_cast<size_t>(count) * sizeof *array + 15) / 16 * 16;
  });
  batch.kinds = traits_of(request.verifier).proposals;
  return batch;
}

}  // namespace anydraft::detail
