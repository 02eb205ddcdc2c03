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

// What the block of a verifier's kernel does, from the list. An algorithm without a function, and a
// kernel without rows to play on, do not compile.
template <CudaKernel kernel, class Block>
ANYDRAFT_HD void play_verifier(Block& block, Scratch& scratch, const Batch& batch, int64_t index) {
  const auto with = [&](auto function) {
    if constexpr (kernel == CudaKernel::kDeferring) {
      play_by<DeferredRows>(block, scratch, batch, index, function);
    } else {
      static_assert(kernel == CudaKernel::kReading || kernel == CudaKernel::kSweeping);
      play_by<BlockRows>(block, scratch, batch, index, function);
    }
  };
  switch (algorithm_of(batch.request.verifier)) {
#define ANYDRAFT_ALGORITHM(function, played_by)        \
  case Algorithm::function:                            \
    if constexpr (CudaKernel::played_by == kernel) {   \
      with([](auto& rows) { return function(rows); }); \
    }                                                  \
    break;
#include "anydraft/verifiers.def"
#undef ANYDRAFT_ALGORITHM
  }
}

// Computes how likely each node was to be accepted, after the verifier. A row that only this reads
// may be bad; the request then fails, as on the CPU.
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
