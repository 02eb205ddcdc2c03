// What a block does for its request: checks the tree, plays the verifier, writes the result.
#pragma once

#include "deferred_draw.cuh"

namespace anydraft::detail {

// Plays `run_verifier(rows)`: one of detail/verifiers.h.
template <template <class> class Rows, class Block, class Function>
ANYDRAFT_HD void play_by(Block& block, Scratch& scratch, const Batch& batch, int64_t index,
                         Function function) {
  BlockOps<Block> ops(block, scratch);
  Rows<Block> rows(ops, batch, index);
  Verdict verdict{0, -1};
  if (rows.fault() == CudaStatus::kFine) verdict = function(rows);
  rows.report(verdict);
}

// The verifiers that read a node's rows once, and again where a drawn child is rejected.
template <class Block>
ANYDRAFT_HD void play_verifier(Block& block, Scratch& scratch, const Batch& batch, int64_t index) {
  const Verifier verifier = batch.request.verifier;
  if (verifier == Verifier::kTopDown) {
    return play_by<DeferredRows>(block, scratch, batch, index,
                                 [](auto& rows) { return top_down(rows); });
  }
  play_by<BlockRows>(block, scratch, batch, index, [&](auto& rows) {
    return verifier == Verifier::kMatch ? match(rows) : traversal(rows);
  });
}

// The verifiers that sweep rows many times.
template <class Block>
ANYDRAFT_HD void play_paths(Block& block, Scratch& scratch, const Batch& batch, int64_t index) {
  play_by<BlockRows>(block, scratch, batch, index, [&](auto& rows) {
    return batch.request.verifier == Verifier::kKseq ? kseq(rows) : multipath(rows);
  });
}

// After the verifier: how likely each node was to be accepted. A row that only this reads may be
// bad: then the request fails as it does on the CPU.
template <class Block>
ANYDRAFT_HD void tell_request(Block& block, Scratch& scratch, const Batch& batch, int64_t index) {
  if (batch.result.status[index] != CudaStatus::kFine) return;
  BlockOps<Block> ops(block, scratch);
  BlockRows<Block> rows(ops, batch, index);
  tell_acceptance(batch.request.verifier, rows, rows.nodes(),
                  [&](int32_t node) { return rows.told(node); });
  if (rows.fault() != CudaStatus::kFine) rows.report({0, -1});
}

}  // namespace anydraft::detail
