// Turns a row of logits into its distribution, by a block. Each chunk is read once, which gives a
// Part. The parts make the distribution.
#pragma once

#include "anydraft/cuda.h"
#include "block.cuh"
#include "block_select.cuh"
#include "scan.cuh"

namespace anydraft::detail {

// The sum of 2^(x * scale - reference) over a lane's entries x >= lower.
template <class Read>
ANYDRAFT_HD float lane_sum(Read read, int64_t begin, int64_t end, int lane, float scale,
                           float lower, int32_t reference) {
  float total = 0;
  for_ahead(read, begin + lane, end, kLanes, [&](int64_t, float x) {
    if (x >= lower) total += scaled_power(x, scale, reference);
  });
  return total;
}

// The scale of the totals in the parts; 0: none. With top-k or min-p few entries may be left, and
// only those are summed, in a later pass.
ANYDRAFT_HD inline float scale_of_parts(const DistributionParams& params) {
  return params.top_k == 0 && params.min_p_octaves == 0 ? params.scale : 0;
}

template <class Block>
class BlockDistributions {
 public:
  ANYDRAFT_HD explicit BlockDistributions(BlockOps<Block>& ops) : ops_(ops) {}

  // The distribution of a row that has not been read yet, and the totals of its chunks in units of
  // 2^distribution.exponent. `parts`: those of the row, where they are known. `bad`: the row has
  // NaN or +inf, only -inf, or logits beyond what a float resolves. The distribution is then a
  // valid but meaningless one, so that the verifier can end.
  ANYDRAFT_SHARED_CODE ANYDRAFT_HD Distribution distribution_of(Distribution distribution,
                                                                const DistributionParams& params,
                                                                const Part* parts, double* totals,
                                                                bool& bad) {
    parts = parts ? share_parts(parts, chunks_of(distribution.size))
                  : read_parts(distribution, scale_of_parts(params));
    const float largest = largest_of(parts, chunks_of(distribution.size));
    bad = !(fabsf(largest) * params.scale <= kLargestExponent) || fabsf(largest) == INFINITY;
    if (bad) {
      distribution.one_hot = 0;
      return distribution;
    }
    if (!(params.scale > 0)) {
      distribution.one_hot = lowest_index_of(distribution, parts, largest);
      return distribution;
    }
    distribution.exponent = power_of(largest, distribution.scale).exponent;
    distribution.lower = lowest_logit(largest, distribution.scale);
    distribution.lower = cutoff(distribution, params, largest, parts, totals);
    distribution.inverse_total = 1 / total_of(distribution, parts, totals);
    return distribution;
  }

  // The chunk totals of a distribution that distribution_of made. Its cut-off is not searched
  // again.
  ANYDRAFT_HD void know_totals(const Distribution& distribution, const Part* parts,
                               double* totals) {
    parts = parts ? share_parts(parts, chunks_of(distribution.size))
                  : read_parts(distribution, distribution.scale);
    total_of(distribution, parts, totals);
  }

 private:
  // As the CPU engine's sampling/cutoff.cpp.
  ANYDRAFT_SHARED_CODE ANYDRAFT_HD float cutoff(Distribution distribution,
                                                const DistributionParams& params, float largest,
                                                const Part* parts, double* totals) {
    if (params.top_k > 0 && params.top_k < distribution.size) {
      const auto k = static_cast<uint64_t>(params.top_k);
      distribution.lower =
          Larger{}(distribution.lower, select(distribution, true, largest, parts, k));
    }
    if (params.top_p < 1) {
      const double total = total_of(distribution, parts, totals);
      const auto weight = static_cast<uint64_t>(params.top_p * total * double{kNucleusUnit});
      const uint64_t target = weight > 1 ? weight : 1;
      distribution.lower =
          Larger{}(distribution.lower, select(distribution, false, largest, parts, target));
    }
    if (params.min_p_octaves < 0) {
      const double lowest = largest + params.min_p_octaves / distribution.scale;
      distribution.lower = Larger{}(distribution.lower, static_cast<float>(lowest));
    }
    return Smaller{}(distribution.lower, largest);
  }
  ANYDRAFT_SHARED_CODE ANYDRAFT_HD float select(const Distribution& distribution, bool count_only,
                                                float largest, const Part* parts, uint64_t target) {
    return with_reader(distribution, [&](auto read) {
      BlockSelect<Block, decltype(read)> from(
          ops_, read, distribution.size, parts,
          {count_only, distribution.scale, distribution.exponent});
      return from.select(distribution.lower, largest, 16 / distribution.scale, target);
    });
  }

  ANYDRAFT_SHARED_CODE ANYDRAFT_HD const Part* read_parts(const Distribution& distribution,
                                                          float scale) {
    constexpr int kWidth = 2;  // so that a row's chunks occupy many warps
    const int chunks = chunks_of(distribution.size),
              at_once = chunks_at_once(distribution.dtype, distribution.map, kWidth);
    Part* parts = ops_.scratch().parts;
    ops_.sync();
    for (int first = 0; first < chunks; first += ops_.warps() * at_once) {
      scan_chunks<kWidth>(ops_.block(), distribution, first + ops_.warp() * at_once, scale, parts);
    }
    ops_.sync();
    return parts;
  }

  ANYDRAFT_HD const Part* share_parts(const Part* from, int chunks) {
    Part* parts = ops_.scratch().parts;
    ops_.sync();
    for (int chunk = ops_.thread(); chunk < chunks; chunk += ops_.threads()) {
      parts[chunk] = from[chunk];
    }
    ops_.sync();
    return parts;
  }

  ANYDRAFT_HD float largest_of(const Part* parts, int chunks) {
    float& largest = ops_.scratch().largest;
    ops_.once([&] {
      largest = -INFINITY;
      for (int c = 0; c < chunks; ++c) largest = Larger{}(parts[c].largest, largest);
    });
    return largest;
  }

  ANYDRAFT_HD int32_t lowest_index_of(const Distribution& distribution, const Part* parts,
                                      float value) {
    int64_t& chunk = ops_.scratch().place;
    ops_.once([&] {
      chunk = 0;
      while (parts[chunk].largest != value) ++chunk;
    });
    const int64_t begin = chunk * kChunk;
    const int64_t end = begin + kChunk < distribution.size ? begin + kChunk : distribution.size;
    int64_t at = begin + ops_.thread();
    while (at < end && logit_at(distribution, at) != value) at += ops_.threads();
    return static_cast<int32_t>(ops_.lowest(at < end ? at : end));
  }

  // The total of the entries >= distribution.lower. A chunk whose part summed other entries too is
  // read again.
  ANYDRAFT_SHARED_CODE ANYDRAFT_HD double total_of(const Distribution& distribution,
                                                   const Part* parts, double* totals) {
    ops_.sync();
    with_reader(distribution, [&](auto read) {
      ops_.for_chunks(
          distribution.size,
          [&](int chunk, int64_t begin, int64_t end) {
            if (parts[chunk].largest < distribution.lower ||
                parts[chunk].smallest >= distribution.lower)
              return 0.0;
            return static_cast<double>(lane_sum(read, begin, end, ops_.lane(), distribution.scale,
                                                distribution.lower, distribution.exponent));
          },
          [&](int chunk, double total) {
            const Part& part = parts[chunk];
            if (part.smallest >= distribution.lower) {
              total = part.total * two_to(reference_of(part.largest, distribution.scale) -
                                          distribution.exponent);
            }
            totals[chunk] = total;
          });
    });
    return ops_.sum_of(totals, chunks_of(distribution.size));
  }

  BlockOps<Block>& ops_;
};

}  // namespace anydraft::detail
