// Reads all rows of a batch before the verifiers. Each warp reads a few chunks of one row; then
// each block makes the distribution of one row.
#pragma once

#include "batch.cuh"
#include "block_distributions.cuh"
#include "scan_chunk.cuh"

namespace anydraft::detail {

// A row of logits that a node's verifier may need.
struct RowTask {
  const DistributionParams* params = nullptr;  // null: none
  Distribution unread;
};

// The request of a node: the last one that begins at or before it.
ANYDRAFT_HD inline int64_t request_of(const TreesView& trees, int64_t node) {
  int64_t low = 0, high = trees.requests - 1;
  while (low < high) {
    const int64_t middle = (low + high + 1) / 2;
    if (trees.offsets[middle] <= node) {
      low = middle;
    } else {
      high = middle - 1;
    }
  }
  return low;
}

// Whether a node has children. A warp searches together.
template <class Block>
ANYDRAFT_HD bool has_children(Block& block, const CudaVerifyRequest& all, int64_t request,
                              int64_t node) {
  const int64_t begin = all.trees.offsets[request];
  const int64_t after = all.trees.offsets[request + 1];
  const int64_t end = after < all.nodes ? after : all.nodes;
  int32_t found = 0;
  for (int64_t at = node + 1 + block.thread() % kLanes; at < end; at += kLanes) {
    if (all.trees.parents[at] == node - begin) found = 1;
  }
  return block.of_warp(found, Larger{}) != 0;
}

// The input has not been checked yet. What makes no sense is not read; the verifier reports it.
template <class Block>
ANYDRAFT_HD RowTask task_of(Block& block, const Batch& batch, int64_t node, bool draft) {
  const CudaVerifyRequest& all = batch.request;
  const int64_t request = request_of(all.trees, node);
  const DistributionParams* params = (draft ? all.draft_sampling : all.sampling) + request;
  if (!draft) return {params, unread_target(all, node, params->scale)};
  const ProposalKind kind = all.proposals.kinds[node];
  const int64_t index = all.proposals.rows[node];
  const bool inner = has_children(block, all, request, node);
  const bool from_row = kind != ProposalKind::kOneHot && kind != ProposalKind::kSparse;
  const bool there = index >= 0 && index < draft_rows_of(all);
  if (drafts_known(all) || !inner || !from_row || !there) return {};
  return {params, unread_draft(all, index, params->scale)};
}

ANYDRAFT_HD inline int64_t units_a_row(const CudaVerifyRequest& all, bool draft, int width16) {
  const RowsView& rows = draft ? all.draft_logits : all.target_logits;
  return units_a_row(all.target_logits.cols, rows.dtype, draft && all.draft_map, width16);
}
// The number of units in a batch's rows: the target rows, then the draft rows.
ANYDRAFT_HD inline int64_t units_of(const CudaVerifyRequest& all, int width16) {
  int64_t units = units_a_row(all, false, width16);
  if (all.draft_logits.data && !drafts_known(all)) units += units_a_row(all, true, width16);
  return all.nodes * units;
}

// The work of one warp.
template <int width16, class Block>
ANYDRAFT_HD void scan_unit(Block& block, const Batch& batch, int64_t unit) {
  const CudaVerifyRequest& all = batch.request;
  if (unit >= units_of(all, width16)) return;
  const int64_t target_units = all.nodes * units_a_row(all, false, width16);
  const bool draft = unit >= target_units;
  if (draft) unit -= target_units;
  const int64_t a_row = units_a_row(all, draft, width16);
  const int64_t node = unit / a_row;
  const RowTask task = task_of(block, batch, node, draft);
  if (!task.params) return;
  const Distribution& row = task.unread;
  const int first = static_cast<int>(unit % a_row) * chunks_at_once(row.dtype, row.map, width16);
  scan_chunks<width16>(block, row, first, scale_of_parts(*task.params), batch.parts(node, draft));
}

// The same with a block for each chunk.
ANYDRAFT_HD inline int64_t chunks_of(const CudaVerifyRequest& all) {
  const int64_t chunks = all.nodes * chunks_of(all.target_logits.cols);
  return all.draft_logits.data && !drafts_known(all) ? 2 * chunks : chunks;
}
template <class Block>
ANYDRAFT_HD void scan_chunk_unit(Block& block, ChunkScratch& scratch, const Batch& batch,
                                 int64_t unit) {
  const CudaVerifyRequest& all = batch.request;
  const int chunks = chunks_of(all.target_logits.cols), chunk = static_cast<int>(unit % chunks);
  const bool draft = unit / chunks >= all.nodes;
  const int64_t node = unit / chunks - (draft ? all.nodes : 0);
  const RowTask task = task_of(block, batch, node, draft);
  if (!task.params) return;
  const Part part =
      scan_chunk_together(block, scratch, task.unread, chunk, scale_of_parts(*task.params));
  if (block.thread() == 0) batch.parts(node, draft)[chunk] = part;
}

// The work of one block, afterwards: the distribution of one row. Rows are numbered as the target's
// rows of all nodes, then the draft's.
template <class Block>
ANYDRAFT_HD void finish_distribution(Block& block, Scratch& scratch, const Batch& batch,
                                     int64_t unit) {
  const bool draft = unit >= batch.request.nodes;
  const int64_t node = draft ? unit - batch.request.nodes : unit;
  const RowTask task = task_of(block, batch, node, draft);
  if (!task.params) return;
  BlockOps<Block> ops(block, scratch);
  bool bad = false;
  const Distribution distribution = BlockDistributions<Block>(ops).distribution_of(
      task.unread, *task.params, batch.parts(node, draft), scratch.totals, bad);
  if (block.thread() != 0) return;
  NodeDistributions& distributions = batch.workspace.distributions[node];
  (draft ? distributions.draft : distributions.target) = distribution;
  (draft ? distributions.bad_draft : distributions.bad_target) = bad;
}
// One block does a row without filters: a cluster would only wait at its barriers.
ANYDRAFT_HD inline bool cuts(const CudaVerifyRequest& all, int64_t unit) {
  const bool draft = unit >= all.nodes;
  const int64_t request = request_of(all.trees, draft ? unit - all.nodes : unit);
  return (draft ? all.draft_sampling : all.sampling)[request].cuts();
}
ANYDRAFT_HD inline int64_t distributions_of(const CudaVerifyRequest& all) {
  return all.draft_logits.data && !drafts_known(all) ? 2 * all.nodes : all.nodes;
}

}  // namespace anydraft::detail
