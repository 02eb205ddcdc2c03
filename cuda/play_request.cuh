// What a block does for its request: checks the tree, plays the walk, writes the result.
#pragma once

#include "block_rows.cuh"

namespace anydraft::detail {

// Each walk by itself: the largest does not cost the others registers.
template <Verifier verifier, class Rows>
ANYDRAFT_SHARED_CODE ANYDRAFT_HD Walked walk_alone(Rows& rows) {
  return walk(verifier, rows);
}
template <class Rows>
ANYDRAFT_HD Walked walk_one(Verifier verifier, Rows& rows) {
  switch (verifier) {
    case Verifier::kMatch:
      return walk_alone<Verifier::kMatch>(rows);
    case Verifier::kTraversal:
    case Verifier::kBlock:
      return walk_alone<Verifier::kTraversal>(rows);
    case Verifier::kMultipath:
      return walk_alone<Verifier::kMultipath>(rows);
    case Verifier::kKseq:
      return walk_alone<Verifier::kKseq>(rows);
    case Verifier::kTopDown:
      break;
  }
  return walk_alone<Verifier::kTopDown>(rows);
}

// What a block does for its request.
template <class Block>
ANYDRAFT_HD void play_request(Block& block, Scratch& scratch, const Batch& batch, int64_t index) {
  Crew<Block> crew(block, scratch);
  BlockRows<Block> rows(crew, batch, index);
  Walked walked{0, -1};
  if (rows.fault() == CudaStatus::kFine) walked = walk_one(batch.request.verifier, rows);
  rows.report(walked);
}

}  // namespace anydraft::detail
