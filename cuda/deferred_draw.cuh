// Draws that wait for a sweep by the whole device. Where a verifier rejects the last child of a
// node, and the child was drawn from a row, the residual is needed for one draw only. The verifier
// then notes the draw (DeferredRows). A later kernel sums each chunk of the rows by a block of its
// own, and the last block draws (sweep_chunk). The tokens are those of BlockRows.
#pragma once

#include "block_rows.cuh"

namespace anydraft::detail {

template <class Block>
class DeferredRows : public BlockRows<Block> {
  using Base = BlockRows<Block>;
  using Base::batch_;
  using Base::play_;
  using Base::request_;
  using Base::target_;

 public:
  using Base::Base;

  ANYDRAFT_HD void reject(Residual& residual, int32_t child) {
    this->need(residual.node);
    const ProposalKind kind = play_.kinds[residual.node];
    const bool last = this->next_sibling(child) < 0;
    const bool drawn = kind != ProposalKind::kSparse && !is_certain(play_, child);
    if (!last || !drawn || target_.one_hot >= 0) return Base::reject(residual, child);
    const Residual after = this->without(residual, child, false);
    if (!(after.drafted > 0)) return Base::reject(residual, child);
    deferred_ = {residual, after, 0, 0, true};
  }

  ANYDRAFT_HD int32_t pick(const Residual& residual, Purpose purpose) {
    if (!deferred_.waits) return Base::pick(residual, purpose);
    deferred_.uniform = uniform_for(play_, purpose, residual.node);
    return -1;
  }

  ANYDRAFT_HD void report(const Verdict& verdict) {
    Base::report(verdict);
    if (this->fault() != CudaStatus::kFine) deferred_.waits = false;
    if (batch_.workspace.deferred && this->ops_.thread() == 0)
      batch_.workspace.deferred[request_] = deferred_;
  }

 private:
  DeferredDraw deferred_{};
};

// Shared memory of a block that sweeps a chunk.
struct SweepScratch {
  Scratch scratch;
  double left[kChunk];
};

template <class Block>
class Sweep : public BlockRows<Block> {
  using Base = BlockRows<Block>;
  using Base::batch_;
  using Base::ops_;
  using Base::request_;
  using Base::target_;

 public:
  ANYDRAFT_HD Sweep(BlockOps<Block>& ops, const Batch& batch, int64_t index, double* values)
      : Base(ops, batch, index, true), deferred_(batch.workspace.deferred[index]), values_(values) {
    this->need(deferred_.after.node);
  }

  ANYDRAFT_HD void operator()(int chunk) {
    const int chunks = chunks_of(target_.size);
    double* totals = batch_.workspace.left + request_ * chunks;
    const double total = total_of(chunk);
    ops_.once([&] {
      totals[chunk] = total;
      const uint64_t before = ops_.block().publish(&batch_.workspace.deferred[request_].swept);
      ops_.scratch().place = static_cast<int64_t>(before) == chunks - 1;
    });
    if (ops_.scratch().place) draw(totals, chunks);
  }

 private:
  // The sum of U over the chunk, known to the whole first warp. No sibling is certain here, for the
  // last one was drawn.
  ANYDRAFT_HD double total_of(int chunk) {
    const Residual& residual = deferred_.after;
    const int64_t begin = static_cast<int64_t>(chunk) * kChunk;
    const int64_t end = Smaller{}(begin + kChunk, target_.size);
    const Part* parts = batch_.parts(this->base() + residual.node, false);
    if (parts && parts[chunk].largest < target_.lower)
      return 0;  // no entry is in the target's distribution
    ops_.sync();
    for (int64_t at = end + ops_.thread(); at < begin + kChunk; at += ops_.threads()) {
      values_[at - begin] = 0;
    }
    const Distribution& draft = this->draft_;
    this->with_entries([&](auto entries) {
      const Left left(target_, draft, residual.weight, residual.drafted);
      entries.template for_both<16>(
          begin + ops_.thread(), end, ops_.threads(),
          [&](int64_t at, float x, float y) { values_[at - begin] = left(x, y); });
    });
    if (draft.one_hot >= begin && draft.one_hot < end) {
      ops_.once([&] {
        values_[draft.one_hot - begin] =
            this->any_entries().left(residual.weight, residual.drafted, draft.one_hot);
      });
    }
    ops_.sync();
    double sum = 0;
    if (ops_.warp() == 0) {
      for (int i = ops_.lane(); i < kChunk; i += kLanes) sum += values_[i];
    }
    return ops_.block().of_warp(sum, Plus{});
  }

  ANYDRAFT_HD void draw(const double* totals, int chunks) {
    ops_.sync();
    double* shared = ops_.scratch().totals;
    const volatile double* written = totals;  // past the cache: other blocks wrote it
    for (int i = ops_.thread(); i < chunks; i += ops_.threads()) shared[i] = written[i];
    const double sum = ops_.sum_of(shared, chunks);
    const bool none = !(sum > 0) && deferred_.after.weight >= 1;  // as in Backend::reject
    int32_t token;
    if (none) {
      token = this->pick_with(deferred_.before, deferred_.uniform);
    } else {
      this->remember(deferred_.after, sum);
      token = this->pick_with(deferred_.after, deferred_.uniform);
    }
    if (ops_.thread() != 0) return;
    batch_.result.next_tokens[request_] = token;
    if (none && batch_.result.degenerate) batch_.result.degenerate[request_] = 1;
  }

  const DeferredDraw& deferred_;  // no copy: other blocks count `swept` up meanwhile
  double* values_;
};

// Sweeps one chunk of a request's rows after the verifiers, if its draw was deferred.
template <class Block>
ANYDRAFT_HD void sweep_chunk(Block& block, SweepScratch& scratch, const Batch& batch, int64_t index,
                             int chunk) {
  if (!batch.workspace.deferred[index].waits) return;
  BlockOps<Block> ops(block, scratch.scratch);
  Sweep<Block>(ops, batch, index, scratch.left)(chunk);
}

}  // namespace anydraft::detail
