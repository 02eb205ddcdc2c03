// 8 floats in plain loops, which compilers vectorise where they can, under the names kernels.inc is
// written in.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#include "anydraft/detail/distribution.h"

namespace anydraft::detail {
namespace {

constexpr int kWidth = 8;
struct Floats {
  float at[kWidth];
};
struct Mask {
  uint32_t at[kWidth];  // all bits, or none
};

template <class F>
inline Floats floats(F value_at) {
  Floats out;
  for (int i = 0; i < kWidth; ++i) out.at[i] = value_at(i);
  return out;
}
template <class F>
inline Mask mask(F keep_at) {
  Mask out;
  for (int i = 0; i < kWidth; ++i) out.at[i] = keep_at(i) ? ~0u : 0u;
  return out;
}
inline uint32_t bits_from_float(float value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  return bits;
}

inline Floats splat(float x) {
  return floats([&](int) { return x; });
}
inline Floats load_floats(const float* from) {
  return floats([&](int i) { return from[i]; });
}
inline Floats gather(const float* from, const int32_t* ids) {
  return floats([&](int i) { return from[ids[i]]; });
}
inline Floats load_bfloat16(const uint16_t* from) {
  return floats([&](int i) { return float_from_bfloat16(from[i]); });
}
inline Floats load_float16(const uint16_t* from) {
  return floats([&](int i) { return float_from_float16(from[i]); });
}
inline float one_float16(uint16_t half) { return float_from_float16(half); }
inline void store(float* to, const Floats& x) { memcpy(to, x.at, sizeof x.at); }

inline Floats add(const Floats& a, const Floats& b) {
  return floats([&](int i) { return a.at[i] + b.at[i]; });
}
inline Floats subtract(const Floats& a, const Floats& b) {
  return floats([&](int i) { return a.at[i] - b.at[i]; });
}
inline Floats multiply(const Floats& a, const Floats& b) {
  return floats([&](int i) { return a.at[i] * b.at[i]; });
}
inline Floats divide(const Floats& a, const Floats& b) {
  return floats([&](int i) { return a.at[i] / b.at[i]; });
}
inline Floats multiply_add(const Floats& a, const Floats& b, const Floats& c) {
  return floats([&](int i) { return fmaf(a.at[i], b.at[i], c.at[i]); });
}
inline Floats multiply_subtract(const Floats& a, const Floats& b, const Floats& c) {
  return floats([&](int i) { return fmaf(a.at[i], b.at[i], -c.at[i]); });
}
// `so_far` where x is NaN.
inline Floats larger(const Floats& x, const Floats& so_far) {
  return floats([&](int i) { return x.at[i] > so_far.at[i] ? x.at[i] : so_far.at[i]; });
}

inline Mask not_below(const Floats& x, const Floats& lower) {
  return mask([&](int i) { return !(x.at[i] < lower.at[i]); });
}
inline Mask is_nan(const Floats& x) {
  return mask([&](int i) { return x.at[i] != x.at[i]; });
}
inline Mask either(const Mask& a, const Mask& b) {
  return mask([&](int i) { return a.at[i] | b.at[i]; });
}
inline uint32_t bits_of(const Mask& keep) {
  uint32_t bits = 0;
  for (int i = 0; i < kWidth; ++i) bits |= (keep.at[i] & 1u) << i;
  return bits;
}
inline Floats zero_unless(const Mask& keep, const Floats& x) {
  return floats([&](int i) { return float_from_bits(bits_from_float(x.at[i]) & keep.at[i]); });
}
// min(x, so_far) where `keep`, else so_far; so_far where x is NaN.
inline Floats smaller_where(const Mask& keep, const Floats& x, const Floats& so_far) {
  return floats(
      [&](int i) { return keep.at[i] && x.at[i] < so_far.at[i] ? x.at[i] : so_far.at[i]; });
}

// x * 2^(low bits of n - exponent), NaN where x is: a power of two in [-126, 127].
inline Floats shift_exponent(const Floats& x, const Floats& n, int32_t exponent) {
  return floats([&](int i) {
    const uint32_t shift = bits_from_float(n.at[i]) - static_cast<uint32_t>(exponent - 127);
    return x.at[i] * float_from_bits(shift << 23);
  });
}

// Rounded towards zero.
inline void store_whole(int32_t* to, const Floats& x) {
  for (int i = 0; i < kWidth; ++i) to[i] = static_cast<int32_t>(x.at[i]);
}
inline void store_whole(uint64_t* to, const Floats& x) {
  for (int i = 0; i < kWidth; ++i) to[i] = static_cast<uint64_t>(static_cast<int64_t>(x.at[i]));
}

inline Floats choose(const Mask& keep, const Floats& x, const Floats& otherwise) {
  return floats([&](int i) { return keep.at[i] ? x.at[i] : otherwise.at[i]; });
}
// Entries in the lanes of `bits`, `otherwise` in the others.
inline Floats expand(const float* packed, uint32_t bits, float otherwise) {
  float lanes[kWidth];
  for (int l = 0; l < kWidth; ++l) lanes[l] = bits >> l & 1 ? *packed++ : otherwise;
  return load_floats(lanes);
}

constexpr int kDoubles = 4;
struct Doubles {
  double at[kDoubles];
};

template <class F>
inline Doubles doubles(F value_at) {
  Doubles out;
  for (int i = 0; i < kDoubles; ++i) out.at[i] = value_at(i);
  return out;
}
inline Doubles splat_double(double x) {
  return doubles([&](int) { return x; });
}
inline Doubles widen(const float* from) {
  return doubles([&](int i) { return static_cast<double>(from[i]); });
}
inline void store(double* to, const Doubles& x) { memcpy(to, x.at, sizeof x.at); }
inline Doubles add(const Doubles& a, const Doubles& b) {
  return doubles([&](int i) { return a.at[i] + b.at[i]; });
}
inline Doubles multiply(const Doubles& a, const Doubles& b) {
  return doubles([&](int i) { return a.at[i] * b.at[i]; });
}
inline Doubles multiply_add(const Doubles& a, const Doubles& b, const Doubles& c) {
  return doubles([&](int i) { return std::fma(a.at[i], b.at[i], c.at[i]); });
}
// The larger of finite x and 0.
inline Doubles positive(const Doubles& x) {
  return doubles([&](int i) { return x.at[i] > 0 ? x.at[i] : 0; });
}
inline Doubles smaller(const Doubles& a, const Doubles& b) {
  return doubles([&](int i) { return a.at[i] < b.at[i] ? a.at[i] : b.at[i]; });
}

// to[i] = x[i] * by
inline void store_products(double* to, const Floats& x, double by) {
  for (int i = 0; i < kWidth; ++i) to[i] = static_cast<double>(x.at[i]) * by;
}

}  // namespace
}  // namespace anydraft::detail
