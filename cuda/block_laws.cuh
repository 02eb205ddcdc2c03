// From a row of logits to its law, by a block: each chunk is read once for what it holds (a Part),
// the parts make the law.
#pragma once

#include "anydraft/cuda.h"
#include "block.cuh"
#include "block_select.cuh"

namespace anydraft::detail {

// Sums may be relative to any power of two: the bits do not depend on it. Even, so that it can be
// part of what scaled_power adds.
ANYDRAFT_HD inline int32_t reference_of(float largest, float scale) {
  return power_of(largest, scale).exponent & ~1;
}

// Of lane `lane`'s entries in [begin, end).
template <class Read>
ANYDRAFT_HD float lane_largest(Read read, int64_t begin, int64_t end, int lane) {
  float largest = -INFINITY;
  bool bad = false;
  for (int64_t at = begin + lane; at < end; at += kLanes) {
    const float x = read(at);
    bad = bad || x != x;
    largest = x > largest ? x : largest;
  }
  return bad ? INFINITY : largest;
}

struct LaneSum {
  float total, smallest;
};

// Of 2^(x * scale - reference) over the lane's entries x >= lower.
template <class Read>
ANYDRAFT_HD LaneSum lane_sum(Read read, int64_t begin, int64_t end, int lane, float scale,
                             float lower, int32_t reference) {
  LaneSum sum{0, INFINITY};
  for (int64_t at = begin + lane; at < end; at += kLanes) {
    const float x = read(at);
    if (!(x >= lower)) continue;
    sum.total += scaled_power(x, scale, reference);
    sum.smallest = x < sum.smallest ? x : sum.smallest;
  }
  return sum;
}

// One chunk, by a warp. An empty one is -inf all over.
template <class Block, class Read>
ANYDRAFT_HD Part part_of(Block& block, Read read, int64_t begin, int64_t end, float scale) {
  const int lane = block.thread() % kLanes;
  const float largest = block.of_warp(lane_largest(read, begin, end, lane), Larger{});
  // Where a float does not resolve it the row is bad, or this chunk has no mass in it.
  const bool summed = scale > 0 && fabsf(largest) * scale <= kLargestExponent + 256;
  const float lower = summed ? lowest_logit(largest, scale) : 0;
  const int32_t reference = summed ? reference_of(largest, scale) : 0;
  const LaneSum sum = lane_sum(read, begin, summed ? end : begin, lane, scale, lower, reference);
  const double total = block.of_warp(static_cast<double>(sum.total), Plus{});
  const float smallest = block.of_warp(sum.smallest, Smaller{});
  return {total, largest, summed ? smallest : -INFINITY};
}

// Whether reading a row once tells its total: with top-k or min-p few entries may be left, and only
// these are summed.
ANYDRAFT_HD inline bool sums_at_once(const LawParams& params) {
  return params.top_k == 0 && params.min_p_octaves == 0;
}

template <class Block>
class BlockLaws {
 public:
  ANYDRAFT_HD explicit BlockLaws(Crew<Block>& crew) : crew_(crew) {}

  // The law of a row, and the totals of its chunks in units of 2^law.exponent. `parts`: where they
  // are known. `bad`: NaN, +inf, -inf everywhere or out of a float's reach; then the law is some
  // law, so that a walk can end.
  ANYDRAFT_HD Law law_of(const RowsView& rows, int64_t index, const LawParams& params,
                         const Part* parts, double* totals, bool& bad) {
    Law law;
    law.row = rows.row(index);
    law.dtype = rows.dtype;
    law.size = rows.cols;
    if (!parts) parts = read_parts(law, sums_at_once(params) ? params.scale : 0);
    const float largest = largest_of(parts, chunks_of(law.size));
    bad = !(fabsf(largest) * params.scale <= kLargestExponent) || fabsf(largest) == INFINITY;
    if (bad) {
      law.one_hot = 0;
      return law;
    }
    if (!(params.scale > 0)) {
      law.one_hot = lowest_index_of(law, parts, largest);
      return law;
    }
    law.scale = params.scale;
    law.exponent = power_of(largest, law.scale).exponent;
    law.lower = lowest_logit(largest, law.scale);
    law.lower = cutoff(law, params, largest, parts, totals);
    law.inverse_total = 1 / total_of(law, parts, totals);
    return law;
  }

 private:
  // As the CPU engine's sampling/cutoff.cpp.
  ANYDRAFT_HD float cutoff(Law law, const LawParams& params, float largest, const Part* parts,
                           double* totals) {
    if (params.top_k > 0 && params.top_k < law.size) {
      const auto k = static_cast<uint64_t>(params.top_k);
      law.lower = Larger{}(law.lower, select(law, true, largest, parts, k));
    }
    if (params.top_p < 1) {
      const double total = total_of(law, parts, totals);
      const auto weight = static_cast<uint64_t>(params.top_p * total * 0x1p40);
      const uint64_t target = weight > 1 ? weight : 1;
      law.lower = Larger{}(law.lower, select(law, false, largest, parts, target));
    }
    if (params.min_p_octaves < 0) {
      const double lowest = largest + params.min_p_octaves / law.scale;
      law.lower = Larger{}(law.lower, static_cast<float>(lowest));
    }
    return Smaller{}(law.lower, largest);
  }
  ANYDRAFT_HD float select(const Law& law, bool count_only, float largest, const Part* parts,
                           uint64_t target) {
    return with_reader(law.row, law.dtype, [&](auto read) {
      BlockSelect<Block, decltype(read)> from(crew_, read, law.size, parts,
                                              {count_only, law.scale, law.exponent});
      return from.select(law.lower, largest, 16 / law.scale, target);
    });
  }

  ANYDRAFT_HD const Part* read_parts(const Law& law, float scale) {
    const int chunks = chunks_of(law.size);
    Part* parts = crew_.scratch().parts;
    crew_.sync();
    with_reader(law.row, law.dtype, [&](auto read) {
      for (int first = 0; first < chunks; first += crew_.warps()) {
        const int chunk = first + crew_.warp();
        const int64_t begin = static_cast<int64_t>(chunk) * kChunk;
        int64_t end = begin + kChunk < law.size ? begin + kChunk : law.size;
        if (chunk >= chunks) end = begin;
        const Part part = part_of(crew_.block(), read, begin, end, scale);
        if (chunk < chunks && crew_.lane() == 0) parts[chunk] = part;
      }
    });
    crew_.sync();
    return parts;
  }

  ANYDRAFT_HD static float largest_of(const Part* parts, int chunks) {
    float largest = -INFINITY;
    for (int chunk = 0; chunk < chunks; ++chunk) largest = Larger{}(parts[chunk].largest, largest);
    return largest;
  }

  ANYDRAFT_HD int32_t lowest_index_of(const Law& law, const Part* parts, float value) {
    int chunk = 0;
    while (parts[chunk].largest != value) ++chunk;
    const int64_t begin = static_cast<int64_t>(chunk) * kChunk;
    const int64_t end = begin + kChunk < law.size ? begin + kChunk : law.size;
    int64_t at = begin + crew_.thread();
    while (at < end && load(law.row, law.dtype, at) != value) at += crew_.threads();
    return static_cast<int32_t>(crew_.lowest(at < end ? at : end));
  }

  // Of the entries >= law.lower. A part that summed others too is read again.
  ANYDRAFT_HD double total_of(const Law& law, const Part* parts, double* totals) {
    crew_.sync();
    with_reader(law.row, law.dtype, [&](auto read) {
      crew_.for_chunks(
          law.size,
          [&](int chunk, int64_t begin, int64_t end) {
            if (parts[chunk].largest < law.lower || parts[chunk].smallest >= law.lower) return 0.0;
            const LaneSum sum =
                lane_sum(read, begin, end, crew_.lane(), law.scale, law.lower, law.exponent);
            return static_cast<double>(sum.total);
          },
          [&](int chunk, double total) {
            const Part& part = parts[chunk];
            if (part.smallest >= law.lower) {
              total = part.total * two_to(reference_of(part.largest, law.scale) - law.exponent);
            }
            totals[chunk] = total;
          });
    });
    return crew_.sum_of(totals, chunks_of(law.size));
  }

  Crew<Block>& crew_;
};

}  // namespace anydraft::detail
