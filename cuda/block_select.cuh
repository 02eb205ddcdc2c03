// Exact selection from a row by a block, without sorting: the cut-off logits of top-k and top-p.
#pragma once

#include "block.cuh"

namespace anydraft::detail {

// Maps floats to integers in the same order.
ANYDRAFT_HD inline int32_t key_of(float x) {
  int32_t bits;
  memcpy(&bits, &x, sizeof bits);
  return bits < 0 ? static_cast<int32_t>(0x80000000u - static_cast<uint32_t>(bits)) : bits;
}
ANYDRAFT_HD inline float float_of(int32_t key) {
  const uint32_t bits =
      key < 0 ? 0x80000000u - static_cast<uint32_t>(key) : static_cast<uint32_t>(key);
  return float_from_bits(bits);
}

// What an entry counts: 1, or its weight in a nucleus (detail/distribution.h). Both are integers,
// so that sums do not depend on their order.
struct Weigh {
  bool count_only;
  float scale;
  int32_t exponent;
  ANYDRAFT_HD uint64_t operator()(float x) const {
    if (count_only) return 1;
    return nucleus_weight(scaled_power(x, scale, exponent));
  }
};

// Bins over the keys [low, high], from the highest down.
struct Bins {
  int32_t low, high;
  float per_logit;  // > 0: bins of equal width in logits; else bins of 2^shift keys
  int shift;

  // Bins of equal width in logits spread a row's entries best. Bins of keys always reach a single
  // key.
  ANYDRAFT_HD static Bins of(int32_t low, int32_t high, bool by_logit) {
    Bins bins{low, high, 0, 0};
    const float per_logit = kBins / (float_of(high) - float_of(low));
    if (by_logit && per_logit > 0 && per_logit < INFINITY) bins.per_logit = per_logit;
    while ((static_cast<int64_t>(high) - low) >> bins.shift >= kBins) ++bins.shift;
    return bins;
  }
  ANYDRAFT_HD int operator()(float x) const {
    if (!(per_logit > 0))
      return static_cast<int>((static_cast<int64_t>(high) - key_of(x)) >> shift);
    const float step = (float_of(high) - x) * per_logit;
    return step < kBins - 1 ? static_cast<int>(step) : kBins - 1;
  }
  // The lowest key in bins up to `bin`.
  ANYDRAFT_HD int32_t edge(int bin) const {
    int64_t from = low, to = high;
    while (from < to) {
      const int64_t middle = from + (to - from) / 2;
      if ((*this)(float_of(static_cast<int32_t>(middle))) <= bin) {
        to = middle;
      } else {
        from = middle + 1;
      }
    }
    return static_cast<int32_t>(from);
  }
};

// Candidates are the entries in [lower, largest] of a row.
template <class Block, class Read>
class BlockSelect {
 public:
  ANYDRAFT_HD BlockSelect(BlockOps<Block>& ops, Read read, int64_t size, const Part* parts,
                          Weigh weigh)
      : ops_(ops), read_(read), size_(size), parts_(parts), weigh_(weigh) {}

  // The largest logit such that the entries >= it weigh at least `target` together; -inf where all
  // candidates weigh less. That logit most often lies within `reach` of the largest.
  ANYDRAFT_HD float select(float lower, float largest, float reach, uint64_t target) {
    const int32_t low = key_of(lower), high = key_of(largest);
    const int32_t near = Larger{}(low, key_of(largest - reach));
    int32_t found = 0;
    if (within(near, high, target, found)) return float_of(found);
    if (near > low && within(low, near - 1, target, found)) return float_of(found);
    return -INFINITY;
  }

 private:
  // Searches [low, high] for the key. `target` loses the weight of the entries above it. False: the
  // key lies below `low`.
  ANYDRAFT_HD bool within(int32_t low, int32_t high, uint64_t& target, int32_t& found) {
    for (bool by_logit = true;; by_logit = false) {
      const Bins bins = Bins::of(low, high, by_logit);
      fill(bins);
      const int bin = pass_bins(target);
      if (bin == kBins) return false;
      if (bin > 0) high = bins.edge(bin - 1) - 1;
      low = bins.edge(bin);
      if (low == high || select_listed(low, high, target, found)) break;
    }
    if (low == high) found = low;
    return true;
  }

  // Calls f with every entry in [low, high].
  template <class F>
  ANYDRAFT_HD void for_entries(int32_t low, int32_t high, F f) {
    const float lowest = float_of(low), highest = float_of(high);
    const int chunks = chunks_of(size_);
    for (int chunk = ops_.warp(); chunk < chunks; chunk += ops_.warps()) {
      if (parts_[chunk].largest < lowest) continue;
      const int64_t begin = static_cast<int64_t>(chunk) * kChunk;
      const int64_t end = begin + kChunk < size_ ? begin + kChunk : size_;
      for_ahead(read_, begin + ops_.lane(), end, kLanes, [&](int64_t, float x) {
        if (x >= lowest && x <= highest) f(x);
      });
    }
  }

  ANYDRAFT_HD void fill(const Bins& bins) {
    uint64_t* weights = ops_.scratch().bins;
    ops_.sync();
    for (int b = ops_.thread(); b < kBins; b += ops_.threads()) weights[b] = 0;
    ops_.sync();
    for_entries(bins.low, bins.high,
                [&](float x) { ops_.block().add(&weights[bins(x)], weigh_(x)); });
    ops_.sync();
    // Behind the bins lie sums of 16 bins each.
    for (int g = ops_.thread(); g < kBins / 16; g += ops_.threads()) {
      uint64_t sum = 0;
      for (int b = 0; b < 16; ++b) sum += weights[g * 16 + b];
      weights[kBins + g] = sum;
    }
    ops_.sync();
  }

  // The bin where the running weight reaches `target`. `target` loses the weight of the bins before
  // it.
  ANYDRAFT_HD int pass_bins(uint64_t& target) {
    Scratch& scratch = ops_.scratch();
    ops_.once([&] {
      const uint64_t* weights = scratch.bins;
      uint64_t left = target;
      int group = 0;
      while (group < kBins / 16 && weights[kBins + group] < left) left -= weights[kBins + group++];
      int bin = group * 16;
      while (bin < kBins && weights[bin] < left) left -= weights[bin++];
      scratch.place = bin;
      scratch.target = left;
    });
    target = scratch.target;
    return static_cast<int>(scratch.place);
  }

  // Among the entries in [low, high], if they are few.
  ANYDRAFT_HD bool select_listed(int32_t low, int32_t high, uint64_t target, int32_t& found) {
    Scratch& scratch = ops_.scratch();
    ops_.once([&] { scratch.listed = 0; });
    for_entries(low, high, [&](float x) {
      const uint64_t place = ops_.block().add(&scratch.listed, 1);
      if (place < kList) scratch.list[place] = x;
    });
    ops_.sync();
    if (scratch.listed > kList) return false;
    const int count = static_cast<int>(scratch.listed);
    for (int i = ops_.thread(); i < count; i += ops_.threads()) {
      scratch.weights[i] = weigh_(scratch.list[i]);
    }
    ops_.sync();
    int64_t best = low;
    for (int i = ops_.thread(); i < count; i += ops_.threads()) {
      uint64_t sum = 0;
      for (int j = 0; j < count; ++j) {
        if (scratch.list[j] >= scratch.list[i]) sum += scratch.weights[j];
      }
      if (sum >= target) best = Larger{}(best, static_cast<int64_t>(key_of(scratch.list[i])));
    }
    found = static_cast<int32_t>(-ops_.lowest(-best));
    return true;
  }

  BlockOps<Block>& ops_;
  Read read_;
  int64_t size_;
  const Part* parts_;
  Weigh weigh_;
};

}  // namespace anydraft::detail
