// What a block does for its request: checks the tree, plays the walk, writes the result.
#pragma once

#include "put_off.cuh"

namespace anydraft::detail {

// Plays `walk(rows)`: one of detail/walks.h.
template <template <class> class Rows, class Block, class Walk>
ANYDRAFT_HD void play_by(Block& block, Scratch& scratch, const Batch& batch, int64_t index,
                         Walk walk) {
  Crew<Block> crew(block, scratch);
  Rows<Block> rows(crew, batch, index);
  Walked walked{0, -1};
  if (rows.fault() == CudaStatus::kFine) walked = walk(rows);
  rows.report(walked);
}

// The walks that read a node's rows once, and again where a drawn child is rejected.
template <class Block>
ANYDRAFT_HD void play_walk(Block& block, Scratch& scratch, const Batch& batch, int64_t index) {
  const Verifier verifier = batch.request.verifier;
  if (verifier == Verifier::kTopDown) {
    return play_by<PutOffRows>(block, scratch, batch, index,
                               [](auto& rows) { return top_down(rows); });
  }
  play_by<BlockRows>(block, scratch, batch, index, [&](auto& rows) {
    return verifier == Verifier::kMatch ? match(rows) : traversal(rows);
  });
}

// The walks that sweep rows many times.
template <class Block>
ANYDRAFT_HD void play_paths(Block& block, Scratch& scratch, const Batch& batch, int64_t index) {
  play_by<BlockRows>(block, scratch, batch, index, [&](auto& rows) {
    return batch.request.verifier == Verifier::kKseq ? kseq(rows) : multipath(rows);
  });
}

// After the walk: how likely each node was to be accepted. A row that only this reads may be bad:
// then the request fails as it does on the CPU.
template <class Block>
ANYDRAFT_HD void tell_request(Block& block, Scratch& scratch, const Batch& batch, int64_t index) {
  if (batch.result.status[index] != CudaStatus::kFine) return;
  Crew<Block> crew(block, scratch);
  BlockRows<Block> rows(crew, batch, index);
  tell_acceptance(batch.request.verifier, rows, rows.nodes(),
                  [&](int32_t node) { return rows.told(node); });
  if (rows.fault() != CudaStatus::kFine) rows.report({0, -1});
}

}  // namespace anydraft::detail
