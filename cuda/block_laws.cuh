// From a row of logits to its law, by a block: each chunk is read once for what it holds (a Part),
// the parts make the law.
#pragma once

#include "anydraft/cuda.h"
#include "block.cuh"
#include "block_select.cuh"
#include "scan.cuh"

namespace anydraft::detail {

// Of 2^(x * scale - reference) over a lane's entries x >= lower.
template <class Read>
ANYDRAFT_HD float lane_sum(Read read, int64_t begin, int64_t end, int lane, float scale,
                           float lower, int32_t reference) {
  float total = 0;
  for_ahead(read, begin + lane, end, kLanes, [&](int64_t, float x) {
    if (x >= lower) total += scaled_power(x, scale, reference);
  });
  return total;
}

// With top-k or min-p few entries may be left, and only these are summed, later.
ANYDRAFT_HD inline float scale_of_parts(const LawParams& params) {
  return params.top_k == 0 && params.min_p_octaves == 0 ? params.scale : 0;
}

template <class Block>
class BlockLaws {
 public:
  ANYDRAFT_HD explicit BlockLaws(Crew<Block>& crew) : crew_(crew) {}

  // The law of a row that is unread as yet, and the totals of its chunks in units of
  // 2^law.exponent. `parts`: where they are known. `bad`: NaN, +inf, -inf everywhere or out of a
  // float's reach; then the law is some law, so that a walk can end.
  ANYDRAFT_SHARED_CODE ANYDRAFT_HD Law law_of(Law law, const LawParams& params, const Part* parts,
                                              double* totals, bool& bad) {
    parts =
        parts ? share_parts(parts, chunks_of(law.size)) : read_parts(law, scale_of_parts(params));
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
    law.exponent = power_of(largest, law.scale).exponent;
    law.lower = lowest_logit(largest, law.scale);
    law.lower = cutoff(law, params, largest, parts, totals);
    law.inverse_total = 1 / total_of(law, parts, totals);
    return law;
  }

  // The chunk totals of a law that law_of gave, without looking for its cut-off again.
  ANYDRAFT_HD void know_totals(const Law& law, const Part* parts, double* totals) {
    parts = parts ? share_parts(parts, chunks_of(law.size)) : read_parts(law, law.scale);
    total_of(law, parts, totals);
  }

 private:
  // As the CPU engine's sampling/cutoff.cpp.
  ANYDRAFT_SHARED_CODE ANYDRAFT_HD float cutoff(Law law, const LawParams& params, float largest,
                                                const Part* parts, double* totals) {
    if (params.top_k > 0 && params.top_k < law.size) {
      const auto k = static_cast<uint64_t>(params.top_k);
      law.lower = Larger{}(law.lower, select(law, true, largest, parts, k));
    }
    if (params.top_p < 1) {
      const double total = total_of(law, parts, totals);
      const auto weight = static_cast<uint64_t>(params.top_p * total * double{kNucleusUnit});
      const uint64_t target = weight > 1 ? weight : 1;
      law.lower = Larger{}(law.lower, select(law, false, largest, parts, target));
    }
    if (params.min_p_octaves < 0) {
      const double lowest = largest + params.min_p_octaves / law.scale;
      law.lower = Larger{}(law.lower, static_cast<float>(lowest));
    }
    return Smaller{}(law.lower, largest);
  }
  ANYDRAFT_SHARED_CODE ANYDRAFT_HD float select(const Law& law, bool count_only, float largest,
                                                const Part* parts, uint64_t target) {
    return with_reader(law, [&](auto read) {
      BlockSelect<Block, decltype(read)> from(crew_, read, law.size, parts,
                                              {count_only, law.scale, law.exponent});
      return from.select(law.lower, largest, 16 / law.scale, target);
    });
  }

  ANYDRAFT_SHARED_CODE ANYDRAFT_HD const Part* read_parts(const Law& law, float scale) {
    constexpr int kWidth = 2;  // so that a row's chunks occupy many warps
    const int chunks = chunks_of(law.size), at_once = chunks_at_once(law.dtype, law.map, kWidth);
    Part* parts = crew_.scratch().parts;
    crew_.sync();
    for (int first = 0; first < chunks; first += crew_.warps() * at_once) {
      scan_chunks<kWidth>(crew_.block(), law, first + crew_.warp() * at_once, scale, parts);
    }
    crew_.sync();
    return parts;
  }

  ANYDRAFT_HD const Part* share_parts(const Part* from, int chunks) {
    Part* parts = crew_.scratch().parts;
    crew_.sync();
    for (int chunk = crew_.thread(); chunk < chunks; chunk += crew_.threads()) {
      parts[chunk] = from[chunk];
    }
    crew_.sync();
    return parts;
  }

  ANYDRAFT_HD float largest_of(const Part* parts, int chunks) {
    float& largest = crew_.scratch().largest;
    crew_.once([&] {
      largest = -INFINITY;
      for (int c = 0; c < chunks; ++c) largest = Larger{}(parts[c].largest, largest);
    });
    return largest;
  }

  ANYDRAFT_HD int32_t lowest_index_of(const Law& law, const Part* parts, float value) {
    int64_t& chunk = crew_.scratch().place;
    crew_.once([&] {
      chunk = 0;
      while (parts[chunk].largest != value) ++chunk;
    });
    const int64_t begin = chunk * kChunk;
    const int64_t end = begin + kChunk < law.size ? begin + kChunk : law.size;
    int64_t at = begin + crew_.thread();
    while (at < end && logit_at(law, at) != value) at += crew_.threads();
    return static_cast<int32_t>(crew_.lowest(at < end ? at : end));
  }

  // Of the entries >= law.lower. A part that summed others too is read again.
  ANYDRAFT_SHARED_CODE ANYDRAFT_HD double total_of(const Law& law, const Part* parts,
                                                   double* totals) {
    crew_.sync();
    with_reader(law, [&](auto read) {
      crew_.for_chunks(
          law.size,
          [&](int chunk, int64_t begin, int64_t end) {
            if (parts[chunk].largest < law.lower || parts[chunk].smallest >= law.lower) return 0.0;
            return static_cast<double>(
                lane_sum(read, begin, end, crew_.lane(), law.scale, law.lower, law.exponent));
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
