#include "sampling/select.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "rows/kernels.h"

namespace anydraft::detail {
namespace {

constexpr int64_t kFew = 64;  // sorted; more are counted into bins first

// Room for an unfiltered row, grown once per thread.
struct Scratch {
  std::vector<float> lists[2];
  std::vector<float> gathered;
  uint64_t bins[Bins::kCount];
};

Scratch& scratch() {
  thread_local Scratch scratch;
  return scratch;
}

// Calls f with the parts of the candidates that may hold one.
template <class F>
void for_each_part(const Candidates& from, F f) {
  if (!from.sums) return f(ChunkView{from.list, DType::kFloat32, 0, from.size});
  for (int64_t chunk = 0; chunk < from.sums->chunks(); ++chunk) {
    if (from.sums->largest_of(chunk) >= from.lower) f(from.sums->view(chunk));
  }
}

int64_t collect(const Candidates& from, float lower, float upper, std::vector<float>& list) {
  if (list.size() < static_cast<size_t>(from.size)) list.resize(from.size);
  float* to = list.data();
  for_each_part(from, [&](const ChunkView& part) {
    to += kernels().collect(part.row, part.dtype, part.begin, part.end, lower, upper, to);
  });
  return to - list.data();
}

// Floats as integers in the same order.
int32_t key_of(float x) {
  int32_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  return bits < 0 ? static_cast<int32_t>(0x80000000u - static_cast<uint32_t>(bits)) : bits;
}

float float_of(int32_t key) {
  const uint32_t bits =
      key < 0 ? 0x80000000u - static_cast<uint32_t>(key) : static_cast<uint32_t>(key);
  return float_from_bits(bits);
}

// The lowest float in [lower, bins.largest] that falls in bins up to `bin`.
float lower_edge(const Bins& bins, int bin, float lower) {
  int64_t low = key_of(lower), high = key_of(bins.largest);
  while (low < high) {
    const int64_t middle = low + (high - low) / 2;
    if (bin_of(bins, float_of(static_cast<int32_t>(middle))) <= bin) {
      high = middle;
    } else {
      low = middle + 1;
    }
  }
  return float_of(static_cast<int32_t>(low));
}

// The bin where the candidates' running weight reaches `target`, which becomes what is left of it
// there; -1 where it never does.
int reach(const Candidates& from, const Bins& steps, const Weights& weights, uint64_t& target,
          uint64_t* bins) {
  std::fill_n(bins, Bins::kCount, uint64_t{0});
  for_each_part(from, [&](const ChunkView& part) {
    kernels().histogram(part.row, part.dtype, part.begin, part.end, from.lower, steps,
                        weights.count_only, weights.scale, weights.exponent, bins);
  });
  for (int bin = 0; bin < Bins::kCount; ++bin) {
    if (bins[bin] >= target) return bin;
    target -= bins[bin];
  }
  return -1;
}

// A distribution whose masses are the entries' powers alone.
Distribution scaled_masses_of(const float* list, const Candidates& from, const Weights& weights) {
  Distribution distribution;
  distribution.row = list;
  distribution.size = from.size;
  distribution.scale = weights.scale;
  distribution.lower = from.lower;
  distribution.exponent = weights.exponent;
  distribution.inverse_total = 1;
  return distribution;
}

// Of a list small enough, or too close together for bins.
float select_sorted(const Candidates& from, const Weights& weights, uint64_t target,
                    std::vector<float>& list) {
  list.resize(std::max<size_t>(list.size(), from.size));
  std::copy_n(from.list, from.size, list.data());
  std::sort(list.data(), list.data() + from.size, [](float a, float b) { return a > b; });
  const Distribution distribution = scaled_masses_of(list.data(), from, weights);
  double scaled[kFew];
  uint64_t reached = 0;
  for (int64_t begin = 0; begin < from.size; begin += kFew) {
    const int64_t end = std::min(begin + kFew, from.size);
    if (!weights.count_only) kernels().masses(distribution, begin, end, scaled);
    for (int64_t i = begin; i < end; ++i) {
      reached += weights.count_only ? 1 : nucleus_weight(static_cast<float>(scaled[i - begin]));
      if (reached >= target) return list[i];
    }
  }
  return -INFINITY;
}

void narrow_to_entries(Candidates& list) {
  const auto ends = std::minmax_element(list.list, list.list + list.size);
  list.lower = *ends.first;
  list.largest = *ends.second;
}

}  // namespace

Candidates gather(const Candidates& candidates) {
  std::vector<float>& list = scratch().gathered;
  Candidates gathered;
  gathered.size = collect(candidates, candidates.lower, INFINITY, list);
  gathered.list = list.data();
  gathered.lower = candidates.lower;
  gathered.largest = candidates.largest;
  return gathered;
}

float select(const Candidates& candidates, const Weights& weights, uint64_t target) {
  Candidates from = candidates;
  Scratch& remaining = scratch();
  int turn = 0;
  const auto to_list = [&](float lower, float upper) {
    std::vector<float>& list = remaining.lists[turn++ % 2];
    from.size = collect(from, lower, upper, list);
    from.list = list.data();
    from.sums = nullptr;
  };
  while (from.sums || from.size > kFew) {
    const Bins steps{from.largest, Bins::kCount / (from.largest - from.lower)};
    if (!(steps.per_logit > 0 && std::isfinite(steps.per_logit))) break;
    const int bin = reach(from, steps, weights, target, remaining.bins);
    if (bin < 0) return -INFINITY;
    const float lower = lower_edge(steps, bin, from.lower);
    to_list(lower, bin > 0 ? lower_edge(steps, bin - 1, from.lower) : INFINITY);
    narrow_to_entries(from);
  }
  if (from.sums) to_list(from.lower, INFINITY);
  return select_sorted(from, weights, target, remaining.lists[turn % 2]);
}

}  // namespace anydraft::detail
