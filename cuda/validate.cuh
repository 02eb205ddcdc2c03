// Checks that a tree on the device can be followed without reading outside its memory.
#pragma once

#include "batch.cuh"

namespace anydraft::detail {

ANYDRAFT_HD inline bool valid_sparse(const Play& play, int64_t vocab, int32_t node) {
  if (!play.sparse_offsets) return false;
  double total = 0;
  for (int32_t i = play.sparse_offsets[node]; i < play.sparse_offsets[node + 1]; ++i) {
    if (play.ids[i] < 0 || play.ids[i] >= vocab) return false;
    if (!(play.masses[i] >= 0 && play.masses[i] < INFINITY)) return false;
    total += play.masses[i];
  }
  return total > 0;
}

// A node of the request that begins at `base`.
ANYDRAFT_HD inline bool valid_node(const Batch& batch, const Play& play, int64_t base,
                                   int32_t node) {
  const CudaVerifyRequest& all = batch.request;
  const int32_t parent = play.parents[node], token = play.tokens[node];
  if (node == 0) return parent == -1;
  if (parent < 0 || parent >= node) return false;
  if (traits_of(all.verifier).shape == DraftShape::kChain && parent != node - 1) return false;
  if (token < 0 || token >= all.target_logits.cols) return false;
  if (play.paths && (play.paths[node] < 1 || play.paths[node] > kMostPaths)) return false;
  const auto kind = static_cast<uint32_t>(play.kinds[parent]);
  if (kind > 31 || !(batch.kinds >> kind & 1)) return false;
  if (play.kinds[parent] == ProposalKind::kOneHot) return true;
  if (play.kinds[parent] == ProposalKind::kSparse) {
    return valid_sparse(play, all.target_logits.cols, parent);
  }
  const int32_t row = all.proposals.rows[base + parent];
  return row >= 0 && row < draft_rows_of(all);
}

// The first node that cannot be followed; -1: none.
template <class Block>
ANYDRAFT_SHARED_CODE ANYDRAFT_HD int32_t first_invalid(BlockOps<Block>& ops, const Batch& batch,
                                                       const Play& play, int64_t base,
                                                       int32_t nodes) {
  if (base < 0 || nodes < 1 || base + nodes > batch.request.nodes) return 0;
  int32_t node = ops.thread();
  while (node < nodes && valid_node(batch, play, base, node)) node += ops.threads();
  const int64_t first = ops.lowest(node < nodes ? node : nodes);
  return first < nodes ? static_cast<int32_t>(first) : -1;
}

// Links the children of each node in their order. Each thread searches for those of its own nodes.
template <class Block>
ANYDRAFT_SHARED_CODE ANYDRAFT_HD void link_nodes(BlockOps<Block>& ops, const Batch& batch,
                                                 const Play& play, int64_t base, int32_t nodes) {
  for (int32_t node = ops.thread(); node < nodes; node += ops.threads()) {
    int32_t child = node + 1, sibling = node + 1;
    while (child < nodes && play.parents[child] != node) ++child;
    while (sibling < nodes && play.parents[sibling] != play.parents[node]) ++sibling;
    play.first_child[node] = child < nodes ? child : -1;
    play.next_sibling[node] = sibling < nodes ? sibling : -1;
    play.spent[node] = 0;
    batch.workspace.distributions[base + node].loaded = false;
  }
  ops.sync();
}

}  // namespace anydraft::detail
