// A block of threads that plays one request, or reads one row, together. Everything here is a
// template over the block, so that nvcc wraps it in thin kernels and the tests run it on a host
// block of std::threads.
//
// A Block offers, called by all its threads alike:
//   int thread(), threads()          threads is a multiple of 32
//   void sync()                      barrier; what was written before it is seen after it
//   T of_warp(T value, op)           over the 32 threads of a warp, in the fixed tree, to all
//   T exchange(T value, mask)        the value of thread() ^ mask, mask < 32
// and at any time
//   uint64_t add(slot, value)        to a uint64_t, atomically; what was there before
#pragma once

#include "anydraft/detail/law.h"

namespace anydraft::detail {

constexpr int kMaxChunks = 256;  // 1,048,576 tokens
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
  Part parts[kMaxChunks];
  double target_totals[kMaxChunks];
  double totals[kMaxChunks];  // of the last residual summed
  double groups[kGroups];
  uint64_t bins[kBins + kBins / 16];
  uint64_t weights[kList];
  float list[kList];
  uint64_t listed;
  int64_t lowest[kMaxWarps];
};

// Entries of a row as floats, the type of the row known when compiling.
template <DType dtype>
struct Reader {
  const void* row;
  ANYDRAFT_HD float operator()(int64_t at) const { return load(row, dtype, at); }
};

template <class F>
ANYDRAFT_HD auto with_reader(const void* row, DType dtype, F f) {
  if (dtype == DType::kBFloat16) return f(Reader<DType::kBFloat16>{row});
  if (dtype == DType::kFloat16) return f(Reader<DType::kFloat16>{row});
  return f(Reader<DType::kFloat32>{row});
}

// scaled(power_of(x, scale), reference), to the bit, for |x * scale| < 2^22: rounds by adding
// 1.5 * 2^23, whose low bits then hold the integer (conversions run at a quarter of the rate), and
// one fma for the fraction, since both of its terms in power_of are exact.
ANYDRAFT_HD inline float scaled_power(float x, float scale, int32_t reference) {
  const float shifted = x * scale + 12582912.0f;
  const float f = fmaf(x, scale, -(shifted - 12582912.0f));
  float y = 1.54614446986e-4f;
  y = fmaf(y, f, 1.34004281776e-3f);
  y = fmaf(y, f, 9.61805667852e-3f);
  y = fmaf(y, f, 5.55032722667e-2f);
  y = fmaf(y, f, 2.40226509223e-1f);
  y = fmaf(y, f, 6.93147206703e-1f);
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
// 2^exponent, in [-1022, 1023].
ANYDRAFT_HD inline double two_to(int32_t exponent) {
  const uint64_t bits = static_cast<uint64_t>(exponent + 1023) << 52;
  double value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

template <class Block>
class Crew {
 public:
  ANYDRAFT_HD Crew(Block& block, Scratch& scratch) : block_(block), scratch_(scratch) {}

  ANYDRAFT_HD int thread() const { return block_.thread(); }
  ANYDRAFT_HD int threads() const { return block_.threads(); }
  ANYDRAFT_HD void sync() { block_.sync(); }
  ANYDRAFT_HD int lane() const { return thread() % kLanes; }
  ANYDRAFT_HD int warp() const { return thread() / kLanes; }
  ANYDRAFT_HD int warps() const { return threads() / kLanes; }

  // One thread writes what all have read so far.
  template <class F>
  ANYDRAFT_HD void once(F write) {
    sync();
    if (thread() == 0) write();
    sync();
  }

  // Chunks of `size` entries, a warp each: `sum(chunk, begin, end)` is what the calling lane adds
  // up of its entries, `put(chunk, total)` is called once a chunk.
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
  ANYDRAFT_HD double sum_of(const double* totals, int chunks) {
    sync();
    double sum = 0;
    for (int chunk = 0; chunk < chunks; ++chunk) sum += totals[chunk];
    return sum;
  }

  // The least of the threads' values.
  ANYDRAFT_HD int64_t lowest(int64_t value) {
    value = block_.of_warp(value, Smaller{});
    sync();
    if (lane() == 0) scratch_.lowest[warp()] = value;
    sync();
    for (int i = 0; i < warps(); ++i) value = Smaller{}(value, scratch_.lowest[i]);
    return value;
  }

  // The token where the cumulative mass passes coin * total; never one without mass. `totals` are
  // the chunk totals at any scale, `mass_at(token)` the masses.
  template <class Mass>
  ANYDRAFT_HD int32_t pick(int64_t size, const double* totals, double coin, Mass mass_at) {
    const int chunks = chunks_of(size);
    double left = coin * sum_of(totals, chunks);
    const int64_t chunk = pass(totals, chunks, left);
    const double share = left / totals[chunk];
    const int64_t begin = chunk * kChunk, end = begin + kChunk < size ? begin + kChunk : size;
    const auto at_most = [&](int64_t at) { return at < end ? mass_at(at) : 0.0; };
    // Groups of 32 entries, a warp a group; then the entry.
    const int groups = static_cast<int>((end - begin + kLanes - 1) / kLanes);
    for (int first = 0; first < groups; first += warps()) {
      const int group = first + warp();
      const bool mine = group < groups;
      const int64_t at = begin + static_cast<int64_t>(group) * kLanes + lane();
      const double total = block_.of_warp(mine ? at_most(at) : 0.0, Plus{});
      if (mine && lane() == 0) scratch_.groups[group] = total;
    }
    left = share * sum_of(scratch_.groups, groups);
    const int64_t entry = begin + pass(scratch_.groups, groups, left) * kLanes;
    double masses[kLanes];
    for (int l = 0; l < kLanes; ++l) masses[l] = at_most(entry + l);
    return static_cast<int32_t>(entry + pass(masses, kLanes, left));
  }

  ANYDRAFT_HD Block& block() { return block_; }
  ANYDRAFT_HD Scratch& scratch() { return scratch_; }

 private:
  Block& block_;
  Scratch& scratch_;
};

}  // namespace anydraft::detail
