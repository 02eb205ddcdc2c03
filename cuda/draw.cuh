// The children of one node drawn from a drafter's row, by a block: detail/draws.h played on a
// device, with the tokens of the CPU's draw_children to the bit.
#pragma once

#include "anydraft/detail/draws.h"
#include "anydraft/draft.h"
#include "anydraft/random.h"
#include "batch.cuh"
#include "block_distributions.cuh"
#include "sample.cuh"

namespace anydraft::detail {

constexpr int32_t kMostChildren = 64;  // of one node

// As DrawTask of rows/row_backend.h.
struct CudaDraw {
  CudaDraftRow row;  // `weighed` and `known` are told, not read
  int64_t own_size, columns;
  DistributionParams params, weighing;
  RandomKey key;
  ProposalKind kind;
  int32_t width, steps;  // draws from this row: more than 1 only inside a drafter's token
  int32_t budget;        // of the first of several draws that a block makes in turn; -1: none
  bool greedy, likelihoods, confidence;
  int32_t first_step, first_child;  // where its results begin
};

enum class DrawStatus : int32_t { kFine, kBad, kNothing };  // kNothing: mass on padding alone

// What is told of each draw; [draws], [steps] or [children].
struct CudaDrawn {
  DrawStatus* status;
  int32_t* steps;            // made
  double* confidence;        // or null
  RowDistribution* weighed;  // or null
  RowDistribution* known;    // [steps]
  int32_t* counts;           // [steps] children
  int32_t* children;         // [children]
  int32_t* fed_as;           // [children], or null
  double* masses;            // [children], or null
};

struct DrawBatch {
  const CudaDraw* draws;
  const int32_t* groups;  // [blocks + 1] the draws that each block makes, in turn
  CudaDrawn drawn;
};

// A Drawer of detail/draws.h. The distribution's chunk totals lie in scratch.target_totals.
template <class Block>
class BlockDrawer {
 public:
  ANYDRAFT_HD BlockDrawer(BlockOps<Block>& ops, const Distribution& distribution,
                          const RandomKey& key)
      : ops_(ops), distribution_(distribution), key_(key) {}

  ANYDRAFT_SHARED_CODE ANYDRAFT_HD int32_t pick(const int32_t* without, int32_t count,
                                                int32_t child) {
    const auto is_out = [&](int64_t id) {
      for (int32_t i = 0; i < count; ++i) {
        if (without[i] == id) return true;
      }
      return false;
    };
    if (distribution_.one_hot >= 0) {
      return is_out(distribution_.one_hot) ? -1 : distribution_.one_hot;
    }
    const auto mass_at = [&](int64_t at) { return is_out(at) ? 0.0 : mass(distribution_, at); };
    const double* totals =
        count > 0 ? totals_without(without, count, mass_at) : ops_.scratch().target_totals;
    if (!(ops_.sum_of(totals, chunks_of(distribution_.size)) > 0)) return -1;
    RandomKey key = key_;
    key.node += static_cast<uint32_t>(child);
    return ops_.pick(distribution_.size, totals, uniform(key), mass_at);
  }

  ANYDRAFT_HD int32_t likeliest(int32_t rank) {
    const int32_t token = highest(rank);
    return token >= 0 && mass(distribution_, token) > 0 ? token : -1;
  }

  // Ranks come in order, each of them once.
  ANYDRAFT_SHARED_CODE ANYDRAFT_HD int32_t highest(int32_t rank) {
    const int64_t after = rank == 0 ? INT64_MIN : last_;
    int64_t best = INT64_MAX;
    with_reader(distribution_, [&](auto read) {
      for_ahead(read, ops_.thread(), distribution_.size, ops_.threads(), [&](int64_t at, float x) {
        const int64_t place = place_of(x, at);
        if (x > -INFINITY && place > after && place < best) best = place;
      });
    });
    last_ = ops_.lowest(best);
    return last_ == INT64_MAX ? -1 : static_cast<int32_t>(last_ & 0xffffffff);
  }

 private:
  // Ascending from the largest logit down, equal ones by id.
  ANYDRAFT_HD static int64_t place_of(float x, int64_t id) {
    return id - static_cast<int64_t>(key_of(x)) * (int64_t{1} << 32);
  }

  // The chunks' totals once some tokens are out, at the scale of the others.
  template <class Mass>
  ANYDRAFT_HD const double* totals_without(const int32_t* without, int32_t count, Mass mass_at) {
    double* totals = ops_.scratch().totals;
    const double* own = ops_.scratch().target_totals;
    ops_.sync();
    for (int c = ops_.thread(); c < chunks_of(distribution_.size); c += ops_.threads()) {
      totals[c] = own[c];
    }
    ops_.sync();
    for (int32_t i = 0; i < count; ++i) {  // every warp sums the chunk, the first one writes
      const int64_t begin = without[i] / kChunk * int64_t{kChunk};
      const int64_t end = Smaller{}(begin + kChunk, distribution_.size);
      double sum = 0;
      for (int64_t at = begin + ops_.lane(); at < end; at += kLanes) sum += mass_at(at);
      const double total = ops_.block().of_warp(sum, Plus{}) / distribution_.inverse_total;
      if (ops_.thread() == 0) totals[without[i] / kChunk] = total;
    }
    ops_.sync();
    return totals;
  }

  BlockOps<Block>& ops_;
  const Distribution distribution_;
  const RandomKey key_;
  int64_t last_ = INT64_MIN;
};

template <class Block>
class RowDraws {
 public:
  // `width` children at most, with the uniforms from `number` on.
  ANYDRAFT_HD RowDraws(Block& block, Scratch& scratch, const DrawBatch& batch, int64_t index,
                       int32_t width, uint32_t number)
      : ops_(block, scratch),
        batch_(batch),
        index_(index),
        draw_(batch.draws[index]),
        width_(width),
        number_(number) {}

  // Returns how many children there are, of the last draw.
  ANYDRAFT_HD int32_t run() {
    row_ = draw_.row;
    know_row();
    int32_t steps = 0;
    for (bool more = width_ > 0; more && status_ == DrawStatus::kFine; ++steps) {
      more = draw_children_of(steps);
    }
    if (ops_.thread() != 0) return count_;
    batch_.drawn.status[index_] = status_;
    batch_.drawn.steps[index_] = steps;
    if (batch_.drawn.confidence) batch_.drawn.confidence[index_] = confidence_;
    if (batch_.drawn.weighed) batch_.drawn.weighed[index_] = row_.weighed;
    return count_;
  }

 private:
  ANYDRAFT_HD Distribution made(Distribution unread, const DistributionParams& params, bool& bad) {
    unread.scale = params.scale;
    return BlockDistributions<Block>(ops_).distribution_of(unread, params, nullptr,
                                                           ops_.scratch().target_totals, bad);
  }
  ANYDRAFT_HD Distribution own_row() const {
    return distribution_from(RowDistribution{0, 0, 0, -1, 0}, row_.data, row_.dtype,
                             draw_.own_size);
  }
  // Of a row that was just read and found bad; `mapped`: one whose own ids may well have mass.
  ANYDRAFT_HD DrawStatus status_of(bool mapped) {
    const float largest = ops_.scratch().largest;  // +inf for NaN
    if (!(largest == -INFINITY)) return DrawStatus::kBad;
    if (mapped) return DrawStatus::kFine;
    return draw_.own_size < draw_.columns ? DrawStatus::kNothing : DrawStatus::kBad;
  }

  // Reads the drafter's own row, where drawing does not: whether it is one, how sure the drafter
  // is, what its tokens weigh.
  ANYDRAFT_HD void know_row() {
    if (!row_.map && !draw_.confidence && width_ > 0) return;
    bool bad = false;
    const Distribution own = made(own_row(), {kLog2E, 0, 1, 0}, bad);
    const float largest = ops_.scratch().largest;
    if (fabsf(largest) == INFINITY) {
      status_ = status_of(row_.map && !row_.spelt);
      return;
    }
    if (draw_.confidence) confidence_ = confidence_of(own, largest);
    if (!row_.spelt) return;
    const Distribution weighed = made(own_row(), draw_.weighing, bad);
    row_.weighed = {weighed.scale, weighed.lower, weighed.exponent, weighed.one_hot,
                    weighed.inverse_total};
    if (bad) status_ = DrawStatus::kBad;
  }
  // At temperature 1, or where that resolves nothing at the lowest temperature that does.
  ANYDRAFT_HD double confidence_of(const Distribution& own, float largest) {
    const double temperature = fabsf(largest) * 1e-6;
    if (!(temperature > 1)) return mass_of_logit(own, largest);
    bool bad = false;
    const auto scale = static_cast<float>(1.4426950408889634 / temperature);
    return mass_of_logit(made(own_row(), {scale, 0, 1, 0}, bad), largest);
  }

  // Whether another draw follows from the row, inside the drafter's token.
  ANYDRAFT_HD bool draw_children_of(int32_t step) {
    const int32_t at = draw_.first_step + step;
    const int32_t first = draw_.first_child + step * draw_.width;
    bool bad = false;
    const Distribution unread = detail::distribution_of(row_, RowDistribution{0, 0, 0, -1, 0});
    const Distribution distribution = made(unread, draw_.params, bad);
    if (bad) status_ = status_of(row_.map);
    int32_t children[kMostChildren];
    int32_t count = 0;
    if (!bad) {
      BlockDrawer<Block> drawer(ops_, distribution, key_of_step(step));
      count = draw_children(drawer, kind_used(draw_.kind, width_), width_, children);
    }
    count_ = count;
    if (ops_.thread() == 0) {
      batch_.drawn.known[at] = {distribution.scale, distribution.lower, distribution.exponent,
                                distribution.one_hot, distribution.inverse_total};
      batch_.drawn.counts[at] = count;
      for (int32_t i = 0; i < count; ++i) batch_.drawn.children[first + i] = children[i];
    }
    if (draw_.likelihoods && count > 0) tell_masses(children, count, first);
    if (!row_.spelt) {
      if (batch_.drawn.fed_as) tell_likeliest(distribution, children, count, first);
      return false;
    }
    const bool goes_on = count == 1 && stand_behind_child(distribution, children[0], step, first);
    return goes_on && step + 1 < draw_.steps;
  }

  ANYDRAFT_HD void tell_masses(const int32_t* children, int32_t count, int32_t first) {
    bool bad = false;
    const Distribution unread = detail::distribution_of(row_, RowDistribution{0, 0, 0, -1, 0});
    const Distribution plain = made(unread, {kLog2E, 0, 1, 0}, bad);
    if (ops_.thread() != 0) return;
    for (int32_t i = 0; i < count; ++i) {
      batch_.drawn.masses[first + i] = bad ? 0 : mass(plain, children[i]);
    }
  }
  ANYDRAFT_HD void tell_likeliest(const Distribution& distribution, const int32_t* children,
                                  int32_t count, int32_t first) {
    if (ops_.thread() != 0) return;
    for (int32_t i = 0; i < count; ++i) {
      batch_.drawn.fed_as[first + i] =
          distribution.map ? likeliest_id(distribution, children[i]) : children[i];
    }
  }
  // Which drafter token ended with the child; or true: it goes on, and the row stands inside it.
  ANYDRAFT_HD bool stand_behind_child(const Distribution& distribution, int32_t child, int32_t step,
                                      int32_t first) {
    RandomKey key = key_of_step(step);
    key.attempt = 1;  // not the uniform that drew the child
    TriePlace place{};
    const int32_t fed = stand_behind(ops_, distribution, child, draw_.greedy, uniform(key), place);
    if (ops_.thread() == 0) batch_.drawn.fed_as[first] = fed;
    row_.place = place;
    return fed < 0;
  }

  ANYDRAFT_HD RandomKey key_of_step(int32_t step) const {
    RandomKey key = draw_.key;
    key.node = number_ + static_cast<uint32_t>(step);
    return key;
  }

  static constexpr float kLog2E = static_cast<float>(1.4426950408889634);

  BlockOps<Block> ops_;
  const DrawBatch& batch_;
  const int64_t index_;
  const CudaDraw& draw_;
  const int32_t width_;
  const uint32_t number_;
  int32_t count_ = 0;
  CudaDraftRow row_;  // each thread's own
  double confidence_ = 0;
  DrawStatus status_ = DrawStatus::kFine;
};

// The draws of one group. Where they share a budget, each has what the ones before leave.
template <class Block>
ANYDRAFT_HD void draw_in_turn(Block& block, Scratch& scratch, const DrawBatch& batch,
                              int64_t group) {
  const int32_t begin = batch.groups[group], end = batch.groups[group + 1];
  int32_t left = batch.draws[begin].budget;
  uint32_t number = batch.draws[begin].key.node;
  for (int32_t i = begin; i < end; ++i) {
    const int32_t wanted = batch.draws[i].width;
    const int32_t width = batch.draws[begin].budget < 0 ? wanted : Smaller{}(wanted, left);
    left -= RowDraws<Block>(block, scratch, batch, i, width, number).run();
    number += static_cast<uint32_t>(width);
  }
}

}  // namespace anydraft::detail
