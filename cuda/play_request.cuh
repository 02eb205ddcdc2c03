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

// Plays the algorithms of one kernel, from the list. An algorithm without a function does not
// compile.
template <CudaKernel kernel, template <class> class Rows, class Block>
ANYDRAFT_HD void play_algorithm(Block& block, Scratch& scratch, const Batch& batch, int64_t index) {
  switch (algorithm_of(batch.request.verifier)) {
#define ANYDRAFT_ALGORITHM(function, played_by)                                               \
  case Algorithm::function:                                                                   \
    if constexpr (CudaKernel::played_by == kernel) {                                          \
      play_by<Rows>(block, scratch, batch, index, [](auto& rows) { return function(rows); }); \
    }                                                                                         \
    break;
#include "anydraft/verifiers.def"
#undef ANYDRAFT_ALGORITHM
  }
}

#define ANYDRAFT_ALGORITHM(function, played_by)                        \
  static_assert(CudaKernel::played_by == CudaKernel::kReading ||       \
                    CudaKernel::played_by == CudaKernel::kDeferring || \
                    CudaKernel::played_by == CudaKernel::kSweeping,    \
                "a kernel below plays every algorithm of the list");
#include "anydraft/verifiers.def"
#undef ANYDRAFT_ALGORITHM

// The verifiers that read a node's rows once, and again where a drawn child is rejected.
template <class Block>
ANYDRAFT_HD void play_verifier(Block& block, Scratch& scratch, const Batch& batch, int64_t index) {
  play_algorithm<CudaKernel::kDeferring, DeferredRows>(block, scratch, batch, index);
  play_algorithm<CudaKernel::kReading, BlockRows>(block, scratch, batch, index);
}

// The verifiers that sweep rows many times.
template <class Block>
ANYDRAFT_HD void play_paths(Block& block, Scratch& scratch, const Batch& batch, int64_t index) {
  play_algorithm<CudaKernel::kSweeping, BlockRows>(block, scratch, batch, index);
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
