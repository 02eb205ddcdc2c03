// What a block does for its request: checks the tree, plays the walk, writes the result.
#pragma once

#include "block_rows.cuh"

namespace anydraft::detail {

// Plays `walk(rows)`: one of detail/walks.h, or one of several where a kernel has them.
template <class Block, class Walk>
ANYDRAFT_HD void play_request(Block& block, Scratch& scratch, const Batch& batch, int64_t index,
                              Walk walk) {
  Crew<Block> crew(block, scratch);
  BlockRows<Block> rows(crew, batch, index);
  Walked walked{0, -1};
  if (rows.fault() == CudaStatus::kFine) walked = walk(rows);
  rows.report(walked);
}
template <class Block>
void play_request(Block& block, Scratch& scratch, const Batch& batch, int64_t index) {
  play_request(block, scratch, batch, index,
               [&](auto& rows) { return walk(batch.request.verifier, rows); });
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
