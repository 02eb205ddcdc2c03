// Reads a chunk of a row once, for its largest logit and its total in the fixed order. 32 / width
// threads share the work. Each loads `width` neighbouring entries at once and keeps the sums of
// their lanes, so that loads are wide and sums stay in one thread until the end.
#pragma once

#if defined(__CUDACC__)
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#endif

#include "anydraft/rows_view.h"
#include "block.cuh"

namespace anydraft::detail {

// `width` neighbouring entries of a row, 4 to 16 bytes.
template <DType dtype, int width>
struct Wide {
  static constexpr int kWords = width * (dtype == DType::kFloat32 ? 4 : 2) / 4;
  uint32_t word[kWords];

  ANYDRAFT_HD float operator[](int i) const {
    if (dtype == DType::kFloat32) return float_from_bits(word[i]);
    const uint32_t pair = word[i / 2];
    if (dtype == DType::kBFloat16) return float_from_bits(i % 2 ? pair & 0xffff0000u : pair << 16);
    const auto half = static_cast<uint16_t>(i % 2 ? pair >> 16 : pair);
#if defined(__CUDA_ARCH__)
    return __half2float(__ushort_as_half(half));
#else
    return float_from_float16(half);
#endif
  }
};

// Entries from `end` on read as -inf.
template <DType dtype, int width>
ANYDRAFT_HD Wide<dtype, width> read_wide(const void* row, int64_t at, int64_t end, bool aligned) {
  constexpr int kBytes = dtype == DType::kFloat32 ? 4 : 2;
  Wide<dtype, width> wide;
  const char* from = static_cast<const char*>(row) + at * kBytes;
  if (aligned && at + width <= end) {
    struct alignas(width * kBytes) Words {
      uint32_t word[Wide<dtype, width>::kWords];
    };
    const Words words = *reinterpret_cast<const Words*>(from);
    for (int i = 0; i < Wide<dtype, width>::kWords; ++i) wide.word[i] = words.word[i];
    return wide;
  }
  for (int i = 0; i < width; ++i) {
    const bool inside = at + i < end;
    if (dtype == DType::kFloat32) {
      wide.word[i] = inside ? reinterpret_cast<const uint32_t*>(from)[i] : 0xff800000u;
    } else {
      const uint32_t none = dtype == DType::kBFloat16 ? 0xff80u : 0xfc00u;
      const uint32_t half = inside ? reinterpret_cast<const uint16_t*>(from)[i] : none;
      wide.word[i / 2] = i % 2 ? wide.word[i / 2] | half << 16 : half;
    }
  }
  return wide;
}

struct Extremes {
  float largest, smallest;  // NaN where an entry is NaN
};

ANYDRAFT_HD inline float larger_or_nan(float a, float b) {
#if defined(__CUDA_ARCH__)
  float c;
  asm("max.NaN.f32 %0, %1, %2;" : "=f"(c) : "f"(a), "f"(b));
  return c;
#else
  return a > b || a != a ? a : b;
#endif
}
ANYDRAFT_HD inline float smaller_or_nan(float a, float b) { return -larger_or_nan(-a, -b); }

template <DType dtype, int width, int count>
ANYDRAFT_HD Extremes extremes_of(const Wide<dtype, width> (&wides)[count]) {
#if defined(__CUDA_ARCH__)
  // Two entries at a time.
  if constexpr (dtype != DType::kFloat32) {
    using Pair = std::conditional_t<dtype == DType::kBFloat16, __nv_bfloat162, __half2>;
    const auto pair = [](const uint32_t& word) { return *reinterpret_cast<const Pair*>(&word); };
    Pair largest = pair(wides[0].word[0]), smallest = largest;
    for (int w = 0; w < count; ++w) {
      for (int i = 0; i < Wide<dtype, width>::kWords; ++i) {
        largest = __hmax2_nan(largest, pair(wides[w].word[i]));
        smallest = __hmin2_nan(smallest, pair(wides[w].word[i]));
      }
    }
    Wide<dtype, 2> top, bottom;
    top.word[0] = *reinterpret_cast<const uint32_t*>(&largest);
    bottom.word[0] = *reinterpret_cast<const uint32_t*>(&smallest);
    return {larger_or_nan(top[0], top[1]), smaller_or_nan(bottom[0], bottom[1])};
  }
#endif
  Extremes found{wides[0][0], wides[0][0]};
  for (int w = 0; w < count; ++w) {
    for (int i = 0; i < width; ++i) {
      found.largest = larger_or_nan(found.largest, wides[w][i]);
      found.smallest = smaller_or_nan(found.smallest, wides[w][i]);
    }
  }
  return found;
}

// The reference of the sums. Any power of two will do: the bits do not depend on it.
ANYDRAFT_HD inline int32_t reference_of(float largest, float scale) {
  return power_of(largest, scale).exponent;
}
// Whether floats resolve 2^(largest * scale). If not, either the row is bad, or its largest logit
// lies so far above that this chunk has no mass.
ANYDRAFT_HD inline bool resolved(float largest, float scale) {
  return fabsf(largest) * scale <= kLargestExponent + 256;
}

// What one thread has read so far.
template <DType dtype, int width>
struct LaneScan {
  float sums[width] = {};
  float largest = -INFINITY, smallest = INFINITY;  // `smallest` of the entries summed
  int32_t reference = 0;
  float lower = INFINITY, upper = -INFINITY;  // entries that can be summed with this reference

  ANYDRAFT_HD void rebase(float high, float scale) {
    if (!resolved(high, scale)) return;
    const int32_t now = reference_of(high, scale);
    const int32_t shift = reference - now;
    // Starts again: the old sum lies 64 octaves below, so what scaling it loses has no mass.
    for (float& sum : sums) sum = sum > 0 && shift > -126 ? sum * two_to_float(shift) : 0;
    reference = now;
    lower = lowest_logit(high, scale);
    upper = high + 64 / scale;
  }

  template <int count>
  ANYDRAFT_HD void add(const Wide<dtype, width> (&wides)[count], float scale) {
    const Extremes found = extremes_of(wides);
    if (!(found.largest < INFINITY)) {
      largest = INFINITY;
      return;
    }
    largest = Larger{}(found.largest, largest);
    if (!(scale > 0)) return;
    if (found.largest > upper) rebase(found.largest, scale);
    if (found.smallest >= lower) {
      smallest = Smaller{}(found.smallest, smallest);
      for (int w = 0; w < count; ++w) {
        for (int i = 0; i < width; ++i) sums[i] += scaled_power(wides[w][i], scale, reference);
      }
      return;
    }
    for (int w = 0; w < count; ++w) {
      for (int i = 0; i < width; ++i) {
        const float x = wides[w][i];
        if (!(x >= lower)) continue;
        sums[i] += scaled_power(x, scale, reference);
        smallest = Smaller{}(x, smallest);
      }
    }
  }
};

// Scans the chunk [begin, end) of a row with 32 / width neighbouring threads. All threads of the
// block must call this, some with an empty chunk. read(at, end) gives neighbouring entries.
template <DType dtype, int width, class Block, class Read>
ANYDRAFT_HD Part scan_chunk(Block& block, Read read, int64_t begin, int64_t end, float scale) {
  constexpr int kThreads = kLanes / width, kAhead = width > 4 ? 4 : 8;
  const int first = block.thread() % kThreads * width;
  LaneScan<dtype, width> scan;
  for (int64_t at = begin + first; at < end; at += kAhead * kLanes) {
    Wide<dtype, width> wides[kAhead];
    for (int w = 0; w < kAhead; ++w) {
      wides[w] = read(at + w * kLanes, end);
    }
    scan.add(wides, scale);
  }
  float largest = scan.largest, smallest = scan.smallest;
  for (int mask = kThreads / 2; mask > 0; mask /= 2) {
    largest = Larger{}(largest, block.exchange(largest, mask));
    smallest = Smaller{}(smallest, block.exchange(smallest, mask));
  }
  const bool summed = smallest < INFINITY && largest < INFINITY;
  const int32_t shift = summed ? scan.reference - reference_of(largest, scale) : 0;
  double lanes[width];
  for (int i = 0; i < width; ++i) {
    lanes[i] = shift > -1000 ? scan.sums[i] * two_to(shift) : 0;
    for (int mask = kThreads / 2; mask > 0; mask /= 2) lanes[i] += block.exchange(lanes[i], mask);
  }
  for (int step = width / 2; step > 0; step /= 2) {
    for (int i = 0; i < step; ++i) lanes[i] += lanes[i + step];
  }
  return {lanes[0], largest, summed ? smallest : -INFINITY};
}

// Chunks first, first + 1, ... of a row, one for each 32 / width threads of the calling warp.
template <DType dtype, int width, class Block, class Read>
ANYDRAFT_HD void scan_some(Block& block, Read read, int64_t size, int first, float scale,
                           Part* parts) {
  constexpr int kThreads = kLanes / width;
  const int lane = block.thread() % kLanes, chunk = first + lane / kThreads;
  const int64_t begin = static_cast<int64_t>(chunk) * kChunk;
  const bool mine = begin < size;
  const int64_t end = !mine ? begin : begin + kChunk < size ? begin + kChunk : size;
  const Part part = scan_chunk<dtype, width>(block, read, begin, end, scale);
  if (mine && lane % kThreads == 0) parts[chunk] = part;
}

template <DType dtype, int width>
struct WideReader {
  const void* row;
  const bool aligned;
  ANYDRAFT_HD explicit WideReader(const void* row)
      : row(row), aligned(reinterpret_cast<uintptr_t>(row) % sizeof(Wide<dtype, width>) == 0) {}
  ANYDRAFT_HD Wide<dtype, width> operator()(int64_t at, int64_t end) const {
    return read_wide<dtype, width>(row, at, end, aligned);
  }
};
struct MappedReader {
  const Distribution& distribution;
  ANYDRAFT_HD Wide<DType::kFloat32, 1> operator()(int64_t at, int64_t end) const {
    Wide<DType::kFloat32, 1> wide;
    const float x = at < end ? projected_logit(distribution, at) : -INFINITY;
    memcpy(wide.word, &x, sizeof x);
    return wide;
  }
};

// Scans chunks_at_once chunks of a row, from `first` on. `scale`: of the totals; 0: largest logits
// only.
template <int width16, class Block>
ANYDRAFT_HD void scan_chunks(Block& block, const Distribution& distribution, int first, float scale,
                             Part* parts) {
  if (distribution.map) {
    scan_some<DType::kFloat32, 1>(block, MappedReader{distribution}, distribution.size, first,
                                  scale, parts);
  } else if (distribution.dtype == DType::kBFloat16) {
    const WideReader<DType::kBFloat16, width16> read(distribution.row);
    scan_some<DType::kBFloat16, width16>(block, read, distribution.size, first, scale, parts);
  } else if (distribution.dtype == DType::kFloat16) {
    const WideReader<DType::kFloat16, width16> read(distribution.row);
    scan_some<DType::kFloat16, width16>(block, read, distribution.size, first, scale, parts);
  } else {
    const WideReader<DType::kFloat32, width16 / 2> read(distribution.row);
    scan_some<DType::kFloat32, width16 / 2>(block, read, distribution.size, first, scale, parts);
  }
}

ANYDRAFT_HD inline int chunks_at_once(DType dtype, bool mapped, int width16) {
  return mapped ? 1 : dtype == DType::kFloat32 ? width16 / 2 : width16;
}

// How many units of so many chunks a row of `size` entries has.
ANYDRAFT_HD inline int64_t units_a_row(int64_t size, DType dtype, bool mapped, int width16) {
  const int at_once = chunks_at_once(dtype, mapped, width16);
  return (chunks_of(size) + at_once - 1) / at_once;
}

}  // namespace anydraft::detail
