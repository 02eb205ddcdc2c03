// The reading of all rows of a batch at once, a few chunks of one row for each warp, before the
// walks that need them.
#pragma once

#include "batch.cuh"
#include "block_laws.cuh"
#include "scan.cuh"

namespace anydraft::detail {

// A row to be read for its parts; size 0: none.
struct RowTask {
  const void* row = nullptr;
  DType dtype = DType::kFloat32;
  int64_t size = 0;
  float scale = 0;
  Part* parts = nullptr;
};

// The request that a node belongs to: the last one that does not begin behind it.
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

// Whether a node has children, looked for by a warp.
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

// Nothing here is checked before: what does not make sense is not read, and the walk says so.
template <class Block>
ANYDRAFT_HD RowTask task_of(Block& block, const Batch& batch, int64_t node, bool draft) {
  const CudaVerifyRequest& all = batch.request;
  const int64_t request = request_of(all.trees, node);
  const LawParams& params = (draft ? all.draft_sampling : all.sampling)[request];
  const RowsView& rows = draft ? all.draft_logits : all.target_logits;
  int64_t index = node;
  if (draft) {
    const LawKind kind = all.laws.kinds[node];
    const bool inner = has_children(block, all, request, node);
    index = all.laws.rows[node];
    if (all.draft_laws || !inner || kind == LawKind::kOneHot || kind == LawKind::kSparse ||
        index < 0 || index >= rows.rows) {
      return {};
    }
  }
  return {rows.row(index), rows.dtype, rows.cols, scale_of_parts(params), batch.parts(node, draft)};
}

// Units of chunks_at_once chunks that a batch's rows make: the target rows, then the draft rows.
ANYDRAFT_HD inline int64_t units_a_row(const RowsView& rows, int width16) {
  const int at_once = chunks_at_once(rows.dtype, width16);
  return (chunks_of(rows.cols) + at_once - 1) / at_once;
}
ANYDRAFT_HD inline int64_t units_of(const CudaVerifyRequest& all, int width16) {
  int64_t units = units_a_row(all.target_logits, width16);
  if (all.draft_logits.data && !all.draft_laws) units += units_a_row(all.draft_logits, width16);
  return all.nodes * units;
}

// What one warp does.
template <int width16, class Block>
ANYDRAFT_HD void scan_unit(Block& block, const Batch& batch, int64_t unit) {
  const CudaVerifyRequest& all = batch.request;
  if (unit >= units_of(all, width16)) return;
  const int64_t target_units = all.nodes * units_a_row(all.target_logits, width16);
  const bool draft = unit >= target_units;
  if (draft) unit -= target_units;
  const int64_t a_row = units_a_row(draft ? all.draft_logits : all.target_logits, width16);
  const RowTask task = task_of(block, batch, unit / a_row, draft);
  const int first = static_cast<int>(unit % a_row) * chunks_at_once(task.dtype, width16);
  if (task.size == 0) return;
  scan_chunks<width16>(block, task.row, task.dtype, task.size, first, task.scale, task.parts);
}

}  // namespace anydraft::detail
