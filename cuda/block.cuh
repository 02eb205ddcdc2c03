// A block of threads that plays one request, or reads one row, together. Everything here is a
// template over the block, so that nvcc wraps it in thin kernels and the tests run it on a host
// block of std::threads.
//
// A Block offers these, which all its threads call together:
//   int thread(), threads()      threads is a multiple of 32
//   void sync()                  a barrier: writes before it are seen after it
//   T of_warp(T value, op)       op over the 32 threads of a warp, in the fixed tree; all get it
//   T exchange(T value, mask)    the value of thread() ^ mask, mask < 32
// and these, which any thread may call at any time:
//   uint64_t add(slot, value)    adds to a uint64_t atomically; gives what it was before
//   uint64_t publish(slot)       add(slot, 1); whoever gets a number sees all that was written
//                                before the calls that it counts
#pragma once

#include "anydraft/detail/distribution.h"
#include "anydraft/detail/play.h"

namespace anydraft::detail {

constexpr int kMaxChunks = 256;
constexpr int64_t kLargestVocab = int64_t{kMaxChunks} * kChunk;
constexpr int kMaxWarps = 128;
constexpr int kGroups = kChunk / kLanes;
constexpr int kBins = 256;
constexpr int kList = 256;

struct Plus {
  template <class T>
  ANYDRAFT_HD T operator()(T a, T b) const {
    return a + b;
  }
};
struct Larger {
  template <class T>
  ANYDRAFT_HD T operator()(T a, T b) const {
    return a > b ? a : b;
  }
};
struct Smaller {
  template <class T>
  ANYDRAFT_HD T operator()(T a, T b) const {
    return a < b ? a : b;
  }
};

// What reading one chunk of a row gives.
struct Part {
  double total;    // of 2^(x * scale - reference_of(largest, scale)) over entries >= smallest
  float largest;   // +inf where an entry is NaN or +inf
  float smallest;  // of the entries summed; -inf: nothing was summed
};

// Memory that the threads of a block share.
struct Scratch {
  // Values that one thread computes for all.
  double sum, left;
  int64_t place;
  uint64_t target;
  float largest;
  Part parts[kMaxChunks];
  double target_totals[kMaxChunks];
  double totals[kMaxChunks];  // of the last residual summed
  double groups[kGroups];
  double entries[kLanes];
  uint64_t bins[kBins + kBins / 16];
  uint64_t weights[kList];
  float list[kList];
  uint64_t listed;
  int64_t lowest[kMaxWarps];
};

// Reads entries of a row as floats. The row's type is known at compile time.
template <DType dtype>
struct Reader {
  const void* row;
  ANYDRAFT_HD float operator()(int64_t at) const { return load(row, dtype, at); }
};

// Reads entries of any type, directly or through a map.
struct AnyReader {
  const Distribution* distribution;
  ANYDRAFT_HD float operator()(int64_t at) const { return logit_at(*distribution, at); }
};

// Calls f(at, x) for at = from, from + step, ... < end, in this order. Several entries are loaded
// before the first is used, since such a loop is bound by memory latency.
template <class Read, class F>
ANYDRAFT_HD void for_ahead(Read read, int64_t from, int64_t end, int64_t step, F f) {
  constexpr int kAhead = 16;
  int64_t at = from;
  for (; at + (kAhead - 1) * step < end; at += kAhead * step) {
    float x[kAhead];
    for (int i = 0; i < kAhead; ++i) x[i] = read(at + i * step);
    for (int i = 0; i < kAhead; ++i) f(at + i * step, x[i]);
  }
  for (; at < end; at += step) f(at, read(at));
}

template <class F>
ANYDRAFT_HD auto with_plain_reader(const void* row, DType dtype, F f) {
  if (dtype == DType::kBFloat16) return f(Reader<DType::kBFloat16>{row});
  if (dtype == DType::kFloat16) return f(Reader<DType::kFloat16>{row});
  return f(Reader<DType::kFloat32>{row});
}
template <class F>
ANYDRAFT_HD auto with_reader(const Distribution& distribution, F f) {
  if (distribution.map) return f(AnyReader{&distribution});
  return with_plain_reader(distribution.row, distribution.dtype, f);
}

// The same bits as scaled(power_of(x, scale), reference), for |x * scale| < 2^22. Rounding adds 1.5
// * 2^23, whose low bits then hold the integer; conversions run at a quarter of the rate. One fma
// gives the fraction, since both of its terms in power_of are exact.
ANYDRAFT_HD inline float scaled_power(float x, float scale, int32_t reference) {
  const float shifted = x * scale + 12582912.0f;
  const float f = fmaf(x, scale, -(shifted - 12582912.0f));
  float y = kPower6;
  y = fmaf(y, f, kPower5);
  y = fmaf(y, f, kPower4);
  y = fmaf(y, f, kPower3);
  y = fmaf(y, f, kPower2);
  y = fmaf(y, f, kPower1);
  y = fmaf(y, f, 1.0f);
  uint32_t bits, steps;
  memcpy(&bits, &y, sizeof bits);
  memcpy(&steps, &shifted, sizeof steps);
  // y lies in [0.70, 1.42]: its exponent takes the shift without a carry into the sign.
  return float_from_bits(bits + ((steps - static_cast<uint32_t>(reference)) << 23));
}

// 2^exponent, in [-126, 127].
ANYDRAFT_HD inline float two_to_float(int32_t exponent) {
  return float_from_bits(static_cast<uint32_t>(exponent + 127) << 23);
}
template <class Block>
class BlockOps {
 public:
  ANYDRAFT_HD BlockOps(Block& block, Scratch& scratch) : block_(block), scratch_(scratch) {}

  ANYDRAFT_HD int thread() const { return block_.thread(); }
  ANYDRAFT_HD int threads() const { return block_.threads(); }
  ANYDRAFT_HD void sync() { block_.sync(); }
  ANYDRAFT_HD int lane() const { return thread() % kLanes; }
  ANYDRAFT_HD int warp() const { return thread() / kLanes; }
  ANYDRAFT_HD int warps() const { return threads() / kLanes; }

  // One thread writes, after all have finished reading and before any reads again.
  template <class F>
  ANYDRAFT_HD void once(F write) {
    sync();
    if (thread() == 0) write();
    sync();
  }

  // Sums the chunks of `size` entries, a warp for each chunk. `sum(chunk, begin, end)` is the
  // calling lane's share; `put(chunk, total)` is called once for each chunk.
  template <class Sum, class Put>
  ANYDRAFT_HD void for_chunks(int64_t size, Sum sum, Put put) {
    const int chunks = chunks_of(size);
    for (int first = 0; first < chunks; first += warps()) {  // all threads take part in of_warp
      const int chunk = first + warp();
      const bool mine = chunk < chunks;
      const int64_t begin = static_cast<int64_t>(chunk) * kChunk;
      const int64_t end = begin + kChunk < size ? begin + kChunk : size;
      const double total = block_.of_warp(mine ? sum(chunk, begin, end) : 0.0, Plus{});
      if (mine && lane() == 0) put(chunk, total);
    }
  }

  // Totals of all chunks into `totals`, and their sum. `sum(begin, end)` as above.
  template <class Sum>
  ANYDRAFT_HD double sum_chunks(int64_t size, double* totals, Sum sum) {
    sync();
    for_chunks(
        size, [&](int, int64_t begin, int64_t end) { return sum(begin, end); },
        [&](int chunk, double total) { totals[chunk] = total; });
    return sum_of(totals, chunks_of(size));
  }
  // One thread does sequential work, in the memory of its own block. In another block's memory each
  // step would take as long as a barrier.
  ANYDRAFT_HD double sum_of(const double* totals, int chunks) {
    once([&] { scratch_.sum = plain_sum(totals, chunks); });
    return scratch_.sum;
  }

  // The smallest of the threads' values.
  ANYDRAFT_HD int64_t lowest(int64_t value) {
    value = block_.of_warp(value, Smaller{});
    sync();
    if (lane() == 0) scratch_.lowest[warp()] = value;
    once([&] {
      scratch_.place = scratch_.lowest[0];
      for (int i = 1; i < warps(); ++i) {
        scratch_.place = Smaller{}(scratch_.place, scratch_.lowest[i]);
      }
    });
    return scratch_.place;
  }

  // The token where the cumulative mass passes uniform * total; never one without mass. `totals`
  // are the chunk totals at any scale, `mass_at(token)` the masses.
  template <class Mass>
  ANYDRAFT_SHARED_CODE ANYDRAFT_HD int32_t pick(int64_t size, const double* totals, double uniform,
                                                Mass mass_at) {
    once([&] {
      const int chunks = chunks_of(size);
      double left = uniform * plain_sum(totals, chunks);
      scratch_.place = pass(totals, chunks, left);
      scratch_.left = left / totals[scratch_.place];
    });
    const int64_t begin = scratch_.place * kChunk;
    const int64_t end = begin + kChunk < size ? begin + kChunk : size;
    const auto at_most = [&](int64_t at) { return at < end ? mass_at(at) : 0.0; };
    // First the group of 32 entries, a warp for each group; then the entry in it.
    const int groups = static_cast<int>((end - begin + kLanes - 1) / kLanes);
    for (int first = 0; first < groups; first += warps()) {
      const int group = first + warp();
      const bool mine = group < groups;
      const int64_t at = begin + static_cast<int64_t>(group) * kLanes + lane();
      const double total = block_.of_warp(mine ? at_most(at) : 0.0, Plus{});
      if (mine && lane() == 0) scratch_.groups[group] = total;
    }
    once([&] {
      double left = scratch_.left * plain_sum(scratch_.groups, groups);
      scratch_.place = begin + pass(scratch_.groups, groups, left) * kLanes;
      scratch_.left = left;
    });
    const int64_t entry = scratch_.place;
    if (warp() == 0) scratch_.entries[lane()] = at_most(entry + lane());
    once([&] {
      double left = scratch_.left;
      scratch_.place = entry + pass(scratch_.entries, kLanes, left);
    });
    return static_cast<int32_t>(scratch_.place);
  }

  ANYDRAFT_HD Block& block() { return block_; }
  ANYDRAFT_HD Scratch& scratch() { return scratch_; }

 private:
  ANYDRAFT_HD static double plain_sum(const double* values, int count) {
    double sum = 0;
    for (int i = 0; i < count; ++i) sum += values[i];
    return sum;
  }

  Block& block_;
  Scratch& scratch_;
};

}  // namespace anydraft::detail
