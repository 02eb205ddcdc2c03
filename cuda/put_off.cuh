// Draws that wait for a sweep by the whole device. Where a walk has rejected the last child of a
// node, and the child was drawn from a row, what is left is needed for one draw alone: the walk
// writes down which (PutOffRows), and after it each chunk of those rows is summed by a block of its
// own, the last of which draws (sweep_chunk). The tokens are those of BlockRows.
#pragma once

#include "block_rows.cuh"

namespace anydraft::detail {

template <class Block>
class PutOffRows : public BlockRows<Block> {
  using Base = BlockRows<Block>;
  using Base::batch_;
  using Base::play_;
  using Base::request_;
  using Base::target_;

 public:
  using Base::Base;

  ANYDRAFT_HD void reject(Residual& residual, int32_t child) {
    this->need(residual.node);
    const LawKind kind = play_.kinds[residual.node];
    const bool last = this->next_sibling(child) < 0;
    const bool drawn = kind != LawKind::kSparse && !is_certain(play_, child);
    if (!last || !drawn || target_.one_hot >= 0) return Base::reject(residual, child);
    const Residual after = this->without(residual, child, false);
    if (!(after.drafted > 0)) return Base::reject(residual, child);
    put_off_ = {residual, after, 0, 0, true};
  }

  ANYDRAFT_HD int32_t pick(const Residual& residual, Purpose purpose) {
    if (!put_off_.waits) return Base::pick(residual, purpose);
    put_off_.coin = play_coin(play_, purpose, residual.node);
    return -1;
  }

  ANYDRAFT_HD void report(const Walked& walked) {
    Base::report(walked);
    if (this->fault() != CudaStatus::kFine) put_off_.waits = false;
    if (batch_.room.put_off && this->crew_.thread() == 0) batch_.room.put_off[request_] = put_off_;
  }

 private:
  PutOff put_off_{};
};

// What a block shares that sweeps a chunk.
struct SweepScratch {
  Scratch scratch;
  double left[kChunk];
};

template <class Block>
class Sweep : public BlockRows<Block> {
  using Base = BlockRows<Block>;
  using Base::batch_;
  using Base::crew_;
  using Base::request_;
  using Base::target_;

 public:
  ANYDRAFT_HD Sweep(Crew<Block>& crew, const Batch& batch, int64_t index, double* values)
      : Base(crew, batch, index, true), put_off_(batch.room.put_off[index]), values_(values) {
    this->need(put_off_.after.node);
  }

  ANYDRAFT_HD void operator()(int chunk) {
    const int chunks = chunks_of(target_.size);
    double* totals = batch_.room.left + request_ * chunks;
    const double total = total_of(chunk);
    crew_.once([&] {
      totals[chunk] = total;
      const uint64_t before = crew_.block().publish(&batch_.room.put_off[request_].swept);
      crew_.scratch().place = static_cast<int64_t>(before) == chunks - 1;
    });
    if (crew_.scratch().place) draw(totals, chunks);
  }

 private:
  // Of U over the chunk, in all of the first warp. No sibling is certain here: the last one is
  // drawn.
  ANYDRAFT_HD double total_of(int chunk) {
    const Residual& residual = put_off_.after;
    const int64_t begin = static_cast<int64_t>(chunk) * kChunk;
    const int64_t end = Smaller{}(begin + kChunk, target_.size);
    const Part* parts = batch_.parts(this->base() + residual.node, false);
    if (parts && parts[chunk].largest < target_.lower) return 0;  // none in the target's law
    crew_.sync();
    for (int64_t at = end + crew_.thread(); at < begin + kChunk; at += crew_.threads()) {
      values_[at - begin] = 0;
    }
    const Law& draft = this->draft_;
    this->with_entries([&](auto entries) {
      const Left left(target_, draft, residual.weight, residual.drafted);
      entries.template for_both<16>(
          begin + crew_.thread(), end, crew_.threads(),
          [&](int64_t at, float x, float y) { values_[at - begin] = left(x, y); });
    });
    if (draft.one_hot >= begin && draft.one_hot < end) {
      crew_.once([&] {
        values_[draft.one_hot - begin] =
            this->any_entries().left(residual.weight, residual.drafted, draft.one_hot);
      });
    }
    crew_.sync();
    double sum = 0;
    if (crew_.warp() == 0) {
      for (int i = crew_.lane(); i < kChunk; i += kLanes) sum += values_[i];
    }
    return crew_.block().of_warp(sum, Plus{});
  }

  ANYDRAFT_HD void draw(const double* totals, int chunks) {
    crew_.sync();
    double* shared = crew_.scratch().totals;
    const volatile double* written = totals;  // by other blocks: not what this one's cache holds
    for (int i = crew_.thread(); i < chunks; i += crew_.threads()) shared[i] = written[i];
    const double sum = crew_.sum_of(shared, chunks);
    const bool none = !(sum > 0) && put_off_.after.weight >= 1;  // as Instrument::reject has it
    int32_t token;
    if (none) {
      token = this->pick_with(put_off_.before, put_off_.coin);
    } else {
      this->remember(put_off_.after, sum);
      token = this->pick_with(put_off_.after, put_off_.coin);
    }
    if (crew_.thread() != 0) return;
    batch_.result.next_tokens[request_] = token;
    if (none && batch_.result.degenerate) batch_.result.degenerate[request_] = 1;
  }

  const PutOff& put_off_;  // its `swept` is counted up meanwhile by other blocks: no copy
  double* values_;
};

// What one block does after the walks: a chunk of a request's rows, if its draw was put off.
template <class Block>
ANYDRAFT_HD void sweep_chunk(Block& block, SweepScratch& scratch, const Batch& batch, int64_t index,
                             int chunk) {
  if (!batch.room.put_off[index].waits) return;
  Crew<Block> crew(block, scratch.scratch);
  Sweep<Block>(crew, batch, index, scratch.left)(chunk);
}

}  // namespace anydraft::detail
