// Reads a chunk of a row once, by a whole block. This is for batches so small that latency counts,
// not the number of threads. The part has the bits of scan_chunk's.
#pragma once

#include "scan.cuh"

namespace anydraft::detail {

struct ChunkScratch {
  float values[kChunk];
  float largest[kMaxWarps], smallest[kMaxWarps];
};

// Reads the entries of [begin, end) into `values`, with -inf up to the chunk's end. Returns the
// largest entry that the calling thread has read.
template <DType dtype, class Block>
ANYDRAFT_HD float read_chunk(Block& block, const void* row, int64_t begin, int64_t end,
                             float* values) {
  constexpr int kWidth = dtype == DType::kFloat32 ? 4 : 8, kAhead = 16 / kWidth;
  const bool aligned = reinterpret_cast<uintptr_t>(row) % 16 == 0;
  float largest = -INFINITY;
  for (int from = block.thread() * kWidth; from < kChunk;
       from += kAhead * kWidth * block.threads()) {
    Wide<dtype, kWidth> wides[kAhead];
    for (int w = 0; w < kAhead; ++w) {
      const int at = from + w * kWidth * block.threads();
      if (at < kChunk) wides[w] = read_wide<dtype, kWidth>(row, begin + at, end, aligned);
    }
    for (int w = 0; w < kAhead; ++w) {
      const int at = from + w * kWidth * block.threads();
      if (at >= kChunk) break;
      for (int i = 0; i < kWidth; ++i) {
        values[at + i] = wides[w][i];
        largest = larger_or_nan(largest, wides[w][i]);
      }
    }
  }
  return largest;
}
template <class Block>
ANYDRAFT_HD float read_chunk(Block& block, const Distribution& distribution, int64_t begin,
                             int64_t end, float* values) {
  if (distribution.map) {
    float largest = -INFINITY;
    for (int at = block.thread(); at < kChunk; at += block.threads()) {
      values[at] = begin + at < end ? projected_logit(distribution, begin + at) : -INFINITY;
      largest = larger_or_nan(largest, values[at]);
    }
    return largest;
  }
  if (distribution.dtype == DType::kBFloat16) {
    return read_chunk<DType::kBFloat16>(block, distribution.row, begin, end, values);
  }
  if (distribution.dtype == DType::kFloat16) {
    return read_chunk<DType::kFloat16>(block, distribution.row, begin, end, values);
  }
  return read_chunk<DType::kFloat32>(block, distribution.row, begin, end, values);
}

// The largest of all threads' values. `warps` is memory for one value from each warp.
template <class Block>
ANYDRAFT_HD float largest_of_block(Block& block, float value, float* warps) {
  value = block.of_warp(value, Larger{});
  if (block.thread() % kLanes == 0) warps[block.thread() / kLanes] = value;
  block.sync();
  for (int w = 0; w < block.threads() / kLanes; ++w) value = Larger{}(warps[w], value);
  return value;
}

// `scale`: of the total; 0: largest logit only. All threads take part; the first gets the result.
template <class Block>
ANYDRAFT_HD Part scan_chunk_together(Block& block, ChunkScratch& scratch,
                                     const Distribution& distribution, int chunk, float scale) {
  const int64_t begin = static_cast<int64_t>(chunk) * kChunk;
  const int64_t end = begin + kChunk < distribution.size ? begin + kChunk : distribution.size;
  const float own = read_chunk(block, distribution, begin, end, scratch.values);
  const float largest = largest_of_block(block, own < INFINITY ? own : INFINITY, scratch.largest);
  if (!(scale > 0) || !(fabsf(largest) < INFINITY) || !resolved(largest, scale)) {
    return {0, largest, -INFINITY};
  }
  const int32_t reference = reference_of(largest, scale);
  const float lower = lowest_logit(largest, scale);
  float smallest = INFINITY;
  for (int at = block.thread(); at < kChunk; at += block.threads()) {
    const float x = scratch.values[at];
    const float power = scaled_power(Larger{}(x, lower), scale, reference);
    scratch.values[at] = x >= lower ? power : 0.0f;
    smallest = x >= lower ? Smaller{}(x, smallest) : smallest;
  }
  smallest = -largest_of_block(block, -smallest, scratch.smallest);
  float sum = 0;
  if (block.thread() < kLanes) {
    for (int at = block.thread(); at < kChunk; at += kLanes) sum += scratch.values[at];
  }
  return {block.of_warp(static_cast<double>(sum), Plus{}), largest, smallest};
}

}  // namespace anydraft::detail
