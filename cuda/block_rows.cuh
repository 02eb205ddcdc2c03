// The block instrument: a block of threads plays one request together. A template over the block,
// so that nvcc wraps it in a thin kernel and the tests run it on a host block of std::threads.
//
// A Block offers, uniformly for all its threads:
//   int thread(), threads()          threads is a multiple of 32
//   void sync()                      barrier, shared memory made visible
//   double fold(double value)        sum over the 32 threads of a warp in the fixed tree, on lane 0
#pragma once

#include "anydraft/detail/play.h"
#include "anydraft/detail/walks.h"

namespace anydraft::detail {

constexpr int kMaxChunks = 256;  // 1,048,576 tokens
constexpr int kMaxWarps = 32;
constexpr int kGroups = kChunk / kLanes;

// Shared memory of a block.
struct Scratch {
  double target_totals[kMaxChunks];
  double totals[kMaxChunks];
  double groups[kGroups];
  float largest[kMaxWarps * kLanes];
  int32_t lowest[kMaxWarps * kLanes];
  bool bad;
};

// All requests of a launch; pointers to memory the block can read.
struct Batch {
  const int32_t* tokens;  // [nodes], and so on as in VerifyRequest
  const int32_t* parents;
  const int32_t* first_child;
  const int32_t* next_sibling;
  const LawKind* kinds;
  const int32_t* law_rows;
  double* z;
  const double* accept;       // or null
  const double* pick;         // or null
  const int32_t* offsets;     // [requests + 1]
  const uint32_t* requests;   // [requests], coin keys
  const uint32_t* positions;  // [requests]
  uint64_t seed;
  RowsView target, draft;
  double target_temperature, draft_temperature;
  Verifier verifier;
  // Results, [requests]. bad_row: -1, or the target row (draft rows count on from their number)
  // whose logits were not finite; then the other two say nothing.
  Walked* walked;
  int32_t* bad_row;
};

template <class Block>
class BlockRows : public Instrument<BlockRows<Block>> {
  using Base = Instrument<BlockRows<Block>>;
  using Base::draft_;
  using Base::play_;
  using Base::target_;

 public:
  ANYDRAFT_HD BlockRows(Block& block, Scratch& scratch, const Batch& batch, int64_t request)
      : block_(block), scratch_(scratch), batch_(batch), base_(batch.offsets[request]) {
    play_ = {batch.tokens + base_,
             batch.parents + base_,
             batch.first_child + base_,
             batch.next_sibling + base_,
             batch.kinds + base_,
             batch.z + base_,
             batch.accept ? batch.accept + base_ : nullptr,
             batch.pick ? batch.pick + base_ : nullptr,
             batch.seed,
             batch.requests[request],
             batch.positions[request]};
  }

  ANYDRAFT_HD void load(int32_t node) {
    const int64_t row = base_ + node;
    target_ = law_of(batch_.target, row, batch_.target_temperature, row, scratch_.target_totals);
    if (play_.first_child[node] >= 0 && play_.kinds[node] == LawKind::kRow) {
      const int64_t draft_row = batch_.law_rows[row];
      draft_ = law_of(batch_.draft, draft_row, batch_.draft_temperature,
                      batch_.target.rows + draft_row, scratch_.totals);
    }
  }

  ANYDRAFT_HD double total_of(const Residual& residual) {
    return sum_chunks(scratch_.totals, [&](int64_t begin, int64_t end) {
      double lane_sum = 0;
      for (int64_t at = begin + lane(); at < end; at += kLanes) {
        lane_sum += residual_mass(play_, residual, target_, draft_, static_cast<int32_t>(at));
      }
      return lane_sum;
    });
  }

  ANYDRAFT_HD int32_t pick_with(const Residual& residual, double coin) {
    if (residual.rejected < 0 && target_.one_hot >= 0) return target_.one_hot;
    const double* totals = scratch_.target_totals;
    if (residual.rejected >= 0) {
      total_of(residual);
      totals = scratch_.totals;
    }
    const int64_t chunks = chunks_of(target_.size);
    double sum = 0;
    for (int64_t c = 0; c < chunks; ++c) sum += totals[c];
    double left = coin * sum;
    const int64_t chunk = pass(totals, chunks, left);
    const double share = left / totals[chunk];
    return pick_in_chunk(residual, chunk * kChunk, share);
  }

  ANYDRAFT_HD void remember(int32_t child, double z) {
    block_.sync();  // nobody still reads the old value
    if (block_.thread() == 0) play_.z[child] = z;
    block_.sync();
  }

  ANYDRAFT_HD int64_t bad_row() const { return bad_row_; }

 private:
  ANYDRAFT_HD int lane() const { return block_.thread() % kLanes; }
  ANYDRAFT_HD int warp() const { return block_.thread() / kLanes; }
  ANYDRAFT_HD int warps() const { return block_.threads() / kLanes; }

  // Sums of all chunks into `totals`, a warp a chunk, and their sum. `lane_sum(begin, end)` adds up
  // the entries of the calling lane.
  template <class LaneSum>
  ANYDRAFT_HD double sum_chunks(double* totals, LaneSum lane_sum) {
    const int chunks = chunks_of(target_.size);
    block_.sync();
    for (int first = 0; first < chunks; first += warps()) {  // every thread takes part in fold
      const int chunk = first + warp();
      const int64_t begin = static_cast<int64_t>(chunk) * kChunk;
      const int64_t end = begin + kChunk < target_.size ? begin + kChunk : target_.size;
      const double total = block_.fold(chunk < chunks ? lane_sum(begin, end) : 0.0);
      if (lane() == 0 && chunk < chunks) totals[chunk] = total;
    }
    block_.sync();
    double sum = 0;
    for (int chunk = 0; chunk < chunks; ++chunk) sum += totals[chunk];
    return sum;
  }

  ANYDRAFT_HD Law law_of(const RowsView& rows, int64_t index, double temperature, int64_t name,
                         double* totals) {
    Law law;
    law.row = rows.row(index);
    law.dtype = rows.dtype;
    law.size = rows.cols;
    target_.size = rows.cols;
    const float largest = largest_of(law);
    const float scale = temperature > 0 ? static_cast<float>(1.4426950408889634 / temperature) : 0;
    if (scratch_.bad || !(fabsf(largest) * scale <= kLargestExponent)) {
      if (bad_row_ < 0) bad_row_ = name;
      law.one_hot = 0;  // the walk ends as any other; its result is not used
      return law;
    }
    if (!(temperature > 0)) {
      law.one_hot = lowest_index_of(law, largest);
      return law;
    }
    law.scale = scale;
    law.exponent = power_of(largest, scale).exponent;
    law.lower = lowest_logit(largest, scale);
    const double total = sum_chunks(totals, [&](int64_t begin, int64_t end) {
      float lane_sum = 0;
      for (int64_t at = begin + lane(); at < end; at += kLanes) {
        const float x = load_entry(law, at);
        if (x >= law.lower) lane_sum += scaled(power_of(x, scale), law.exponent);
      }
      return static_cast<double>(lane_sum);
    });
    law.inverse_total = 1 / total;
    return law;
  }

  ANYDRAFT_HD static float load_entry(const Law& law, int64_t at) {
    return anydraft::detail::load(law.row, law.dtype, at);
  }

  // Largest entry; scratch_.bad where there is none, or NaN or +inf.
  ANYDRAFT_HD float largest_of(const Law& law) {
    float largest = -INFINITY;
    bool bad = false;
    for (int64_t at = block_.thread(); at < law.size; at += block_.threads()) {
      const float x = load_entry(law, at);
      bad = bad || x != x;
      largest = x > largest ? x : largest;
    }
    block_.sync();
    scratch_.largest[block_.thread()] = bad ? INFINITY : largest;
    block_.sync();
    for (int i = 0; i < block_.threads(); ++i) {
      largest = scratch_.largest[i] > largest ? scratch_.largest[i] : largest;
    }
    if (block_.thread() == 0) scratch_.bad = largest == INFINITY || largest == -INFINITY;
    block_.sync();
    return largest;
  }

  ANYDRAFT_HD int32_t lowest_index_of(const Law& law, float value) {
    int64_t at = block_.thread();
    while (at < law.size && load_entry(law, at) != value) at += block_.threads();
    scratch_.lowest[block_.thread()] = static_cast<int32_t>(at < law.size ? at : law.size);
    block_.sync();
    int32_t lowest = scratch_.lowest[0];
    for (int i = 1; i < block_.threads(); ++i) {
      lowest = scratch_.lowest[i] < lowest ? scratch_.lowest[i] : lowest;
    }
    block_.sync();
    return lowest;
  }

  // Groups of 32 entries, a warp a group; then the entry.
  ANYDRAFT_HD int32_t pick_in_chunk(const Residual& residual, int64_t begin, double share) {
    const int64_t end = begin + kChunk < target_.size ? begin + kChunk : target_.size;
    const int count = static_cast<int>((end - begin + kLanes - 1) / kLanes);
    const auto mass_at = [&](int64_t at) {
      return at < end ? residual_mass(play_, residual, target_, draft_, static_cast<int32_t>(at))
                      : 0.0;
    };
    for (int first = 0; first < count; first += warps()) {
      const int group = first + warp();
      const int64_t at = begin + static_cast<int64_t>(group) * kLanes + lane();
      const double total = block_.fold(group < count ? mass_at(at) : 0.0);
      if (lane() == 0 && group < count) scratch_.groups[group] = total;
    }
    block_.sync();
    double sum = 0;
    for (int g = 0; g < count; ++g) sum += scratch_.groups[g];
    double left = share * sum;
    const int64_t entry = begin + pass(scratch_.groups, count, left) * kLanes;
    double masses[kLanes];
    for (int l = 0; l < kLanes; ++l) masses[l] = mass_at(entry + l);
    return static_cast<int32_t>(entry + pass(masses, kLanes, left));
  }

  Block& block_;
  Scratch& scratch_;
  const Batch& batch_;
  int32_t base_;
  int64_t bad_row_ = -1;
};

// What a block does for its request.
template <class Block>
ANYDRAFT_HD void play_request(Block& block, Scratch& scratch, const Batch& batch, int64_t request) {
  BlockRows<Block> rows(block, scratch, batch, request);
  const Walked walked = batch.verifier == Verifier::kMatch ? match(rows) : top_down(rows);
  if (block.thread() != 0) return;
  batch.walked[request] = walked;
  batch.bad_row[request] = static_cast<int32_t>(rows.bad_row());
}

}  // namespace anydraft::detail
