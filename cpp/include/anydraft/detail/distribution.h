// A row of logits and a handful of scalars *is* the distribution after temperature, top-k, top-p
// and min-p:
//   mass(x) = 2^(scale * logit(x)) * inverse_total / 2^exponent   where logit(x) >= lower, else 0.
// The same arithmetic (explicit fma, no contraction) on every device, so every device finds the
// same bits.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#include "anydraft/detail/host_device.h"
#include "anydraft/rows_view.h"

namespace anydraft {

// A row's distribution after its parameters; the fields as in detail::Distribution.
struct RowDistribution {
  float scale, lower;
  int32_t exponent, one_hot;
  double inverse_total;
};

// Inside a drafter token: the spellings [begin, end) of pack_token_trie, all those that begin with
// the `depth` target tokens that stand in the draft already. Depth 0: a drafter token begins.
struct TriePlace {
  int32_t begin, end, depth;
};

namespace detail {

struct MapChunks;

// The order of every sum over a row: chunks of 4096 entries; in a chunk lane l takes entries
// l, l + 32, ...; the lanes fold in a fixed tree; chunks add up in order of their index.
constexpr int kChunk = 4096;
constexpr int kLanes = 32;

// Entries more than this many octaves below the largest have mass zero (a uniform has 52 bits).
constexpr float kOctaves = 124.0f;
// A difference below this share of its terms is summed anew: rounding may be all that is left of
// it.
constexpr double kCancelled = 1e-6;
// |logit| / temperature, in octaves, beyond which a float no longer resolves the distribution.
constexpr float kLargestExponent = 4194048.0f;  // 2^22 - 256

ANYDRAFT_HD inline int chunks_of(int64_t size) {
  return static_cast<int>((size + kChunk - 1) / kChunk);
}

ANYDRAFT_HD inline float float_from_bits(uint32_t bits) {
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

// 2^exponent, in [-1022, 1023].
ANYDRAFT_HD inline double two_to(int32_t exponent) {
  const uint64_t bits = static_cast<uint64_t>(exponent + 1023) << 52;
  double value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

ANYDRAFT_HD inline float float_from_bfloat16(uint16_t half) {
  return float_from_bits(static_cast<uint32_t>(half) << 16);
}

ANYDRAFT_HD inline float float_from_float16(uint16_t half) {
  const uint32_t sign = static_cast<uint32_t>(half & 0x8000u) << 16;
  // 2^112 moves the exponent's bias; subnormals come out right, infinities and NaN by hand.
  float value = float_from_bits(static_cast<uint32_t>(half & 0x7fffu) << 13) * 0x1p112f;
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  if ((half & 0x7c00u) == 0x7c00u)
    bits = 0x7f800000u | (static_cast<uint32_t>(half & 0x3ffu) << 13);
  return float_from_bits(bits | sign);
}

ANYDRAFT_HD inline float load(const void* row, DType dtype, int64_t index) {
  if (dtype == DType::kFloat32) return static_cast<const float*>(row)[index];
  const uint16_t half = static_cast<const uint16_t*>(row)[index];
  return dtype == DType::kBFloat16 ? float_from_bfloat16(half) : float_from_float16(half);
}

struct Distribution {
  const void* row = nullptr;
  DType dtype = DType::kFloat32;
  int64_t size = 0;
  int32_t one_hot = -1;  // >= 0: all mass there (temperature 0), the fields below are unused
  float scale = 0;       // log2(e) / temperature
  float lower = 0;       // the cut-off logit; entries equal to it are kept
  int32_t exponent = 0;  // reference of the masses, near the largest
  double inverse_total = 0;
  // A drafter's row, read by target ids; projection.h. Null: the row's own ids.
  const int32_t* map = nullptr;
  const RowDistribution* weighed = nullptr;
  const TriePlace* place = nullptr;   // with `weighed`; null: a drafter token begins
  const float* merged = nullptr;      // logits of the map's groups, where they are known
  const MapChunks* chunks = nullptr;  // of the map; CPUs read whole chunks
};

// log2(e) / temperature; 0 where greedy.
inline float scale_of(double temperature) {
  return temperature > 0 ? static_cast<float>(1.4426950408889634 / temperature) : 0;
}

// 2^(x * scale) = fraction * 2^exponent with fraction in about [0.70, 1.42]: independent of any
// reference, so chunk sums and single masses agree to the bit. Relative error below 2e-7.
struct Power {
  float fraction;
  int32_t exponent;
};

// 2^f on [-1/2, 1/2], minimax.
constexpr float kPower6 = 1.54614446986e-4f;
constexpr float kPower5 = 1.34004281776e-3f;
constexpr float kPower4 = 9.61805667852e-3f;
constexpr float kPower3 = 5.55032722667e-2f;
constexpr float kPower2 = 2.40226509223e-1f;
constexpr float kPower1 = 6.93147206703e-1f;

ANYDRAFT_HD inline Power power_of(float x, float scale) {
  const float high = x * scale;
  const float low = fmaf(x, scale, -high);
  const float nearest = rintf(high);
  const float f = (high - nearest) + low;
  float y = kPower6;
  y = fmaf(y, f, kPower5);
  y = fmaf(y, f, kPower4);
  y = fmaf(y, f, kPower3);
  y = fmaf(y, f, kPower2);
  y = fmaf(y, f, kPower1);
  y = fmaf(y, f, 1.0f);
  return {y, static_cast<int32_t>(nearest)};
}

// fraction * 2^exponent, for exponents in [-126, 127].
ANYDRAFT_HD inline float scaled(Power power, int32_t reference) {
  return power.fraction *
         float_from_bits(static_cast<uint32_t>(power.exponent - reference + 127) << 23);
}

// The smallest logit that can have mass beside `largest`; finite, so masked -inf never passes.
ANYDRAFT_HD inline float lowest_logit(float largest, float scale) {
  return fmaxf(largest - kOctaves / scale, -3.402823466e38f);
}

// top-p compares sums of these: integers, so the order of a sum does not matter, and a CPU, a GPU
// or a split row find the same cut-off in any way they like. With total T of the distribution
// before top-p (the sum in the fixed order, in units of 2^exponent), top-p keeps x >= t for the
// largest logit t whose entries x >= t have weights that reach floor(top_p * T * 2^40), and keeps
// all entries where their weights fall short of it. `scaled` is scaled(power_of(x, scale),
// exponent), at most 1.42: 2^23 tokens do not overflow.
constexpr float kNucleusUnit = 0x1p40f;

ANYDRAFT_HD inline uint64_t nucleus_weight(float scaled) {
  return static_cast<uint64_t>(static_cast<int64_t>(scaled * kNucleusUnit));
}

ANYDRAFT_SHARED_CODE ANYDRAFT_HD inline float projected_logit(const Distribution& distribution,
                                                              int64_t token);

ANYDRAFT_HD inline float logit_at(const Distribution& distribution, int64_t token) {
  if (token >= distribution.size) return -INFINITY;
  return distribution.map ? projected_logit(distribution, token)
                          : load(distribution.row, distribution.dtype, token);
}

ANYDRAFT_HD inline double mass_of_logit(const Distribution& distribution, float x) {
  if (!(x >= distribution.lower)) return 0.0;
  return static_cast<double>(scaled(power_of(x, distribution.scale), distribution.exponent)) *
         distribution.inverse_total;
}

ANYDRAFT_HD inline double mass(const Distribution& distribution, int64_t token) {
  if (distribution.one_hot >= 0) return token == distribution.one_hot ? 1.0 : 0.0;
  return mass_of_logit(distribution, logit_at(distribution, token));
}

}  // namespace detail
}  // namespace anydraft

#include "anydraft/detail/projection.h"  // projected_logit
