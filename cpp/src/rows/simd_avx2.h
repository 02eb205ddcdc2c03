// 8 floats of AVX2 with FMA and F16C, under the names kernels.inc is written in.
#pragma once

#include <immintrin.h>

#include <cstdint>

namespace anydraft::detail {
namespace {

using Floats = __m256;
using Mask = __m256;
constexpr int kWidth = 8;

inline Floats splat(float x) { return _mm256_set1_ps(x); }
inline Floats load_floats(const float* from) { return _mm256_loadu_ps(from); }
inline Floats gather(const float* from, const int32_t* ids) {
  return _mm256_i32gather_ps(from, _mm256_loadu_si256(reinterpret_cast<const __m256i*>(ids)), 4);
}
inline Floats load_bfloat16(const uint16_t* from) {
  const __m128i half = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from));
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(half), 16));
}
inline Floats load_float16(const uint16_t* from) {
  return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
}
inline float one_float16(uint16_t half) { return _cvtsh_ss(half); }
inline void store(float* to, Floats x) { _mm256_storeu_ps(to, x); }

inline Floats add(Floats a, Floats b) { return _mm256_add_ps(a, b); }
inline Floats subtract(Floats a, Floats b) { return _mm256_sub_ps(a, b); }
inline Floats multiply(Floats a, Floats b) { return _mm256_mul_ps(a, b); }
inline Floats divide(Floats a, Floats b) { return _mm256_div_ps(a, b); }
inline Floats multiply_add(Floats a, Floats b, Floats c) { return _mm256_fmadd_ps(a, b, c); }
inline Floats multiply_subtract(Floats a, Floats b, Floats c) { return _mm256_fmsub_ps(a, b, c); }
// `so_far` where x is NaN.
inline Floats larger(Floats x, Floats so_far) { return _mm256_max_ps(x, so_far); }

inline Mask not_below(Floats x, Floats lower) { return _mm256_cmp_ps(x, lower, _CMP_NLT_UQ); }
inline Mask is_nan(Floats x) { return _mm256_cmp_ps(x, x, _CMP_UNORD_Q); }
inline Mask either(Mask a, Mask b) { return _mm256_or_ps(a, b); }
inline uint32_t bits_of(Mask mask) { return static_cast<uint32_t>(_mm256_movemask_ps(mask)); }
inline Floats zero_unless(Mask keep, Floats x) { return _mm256_and_ps(keep, x); }
// min(x, so_far) where `keep`, else so_far; so_far where x is NaN.
inline Floats smaller_where(Mask keep, Floats x, Floats so_far) {
  return _mm256_min_ps(_mm256_blendv_ps(so_far, x, keep), so_far);
}

// x * 2^(low bits of n - exponent), NaN where x is: a power of two in [-126, 127].
inline Floats shift_exponent(Floats x, Floats n, int32_t exponent) {
  const __m256i shift = _mm256_sub_epi32(_mm256_castps_si256(n), _mm256_set1_epi32(exponent - 127));
  return _mm256_mul_ps(x, _mm256_castsi256_ps(_mm256_slli_epi32(shift, 23)));
}

// Rounded towards zero.
inline void store_whole(int32_t* to, Floats x) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), _mm256_cvttps_epi32(x));
}
inline void store_whole(uint64_t* to, Floats x) {
  float lanes[kWidth];
  store(lanes, x);
  for (int i = 0; i < kWidth; ++i) to[i] = static_cast<uint64_t>(static_cast<int64_t>(lanes[i]));
}

inline Floats choose(Mask keep, Floats x, Floats otherwise) {
  return _mm256_blendv_ps(otherwise, x, keep);
}
// Entries in the lanes of `bits`, `otherwise` in the others.
inline Floats expand(const float* packed, uint32_t bits, float otherwise) {
  float lanes[kWidth];
  for (int l = 0; l < kWidth; ++l) lanes[l] = bits >> l & 1 ? *packed++ : otherwise;
  return load_floats(lanes);
}

// 4 doubles.
using Doubles = __m256d;
constexpr int kDoubles = 4;

inline Doubles splat_double(double x) { return _mm256_set1_pd(x); }
inline Doubles widen(const float* from) { return _mm256_cvtps_pd(_mm_loadu_ps(from)); }
inline void store(double* to, Doubles x) { _mm256_storeu_pd(to, x); }
inline Doubles add(Doubles a, Doubles b) { return _mm256_add_pd(a, b); }
inline Doubles multiply(Doubles a, Doubles b) { return _mm256_mul_pd(a, b); }
inline Doubles multiply_add(Doubles a, Doubles b, Doubles c) { return _mm256_fmadd_pd(a, b, c); }
// The larger of finite x and 0.
inline Doubles positive(Doubles x) { return _mm256_max_pd(x, _mm256_setzero_pd()); }
inline Doubles smaller(Doubles a, Doubles b) { return _mm256_min_pd(a, b); }

// to[i] = x[i] * by
inline void store_products(double* to, Floats x, double by) {
  const __m256d factor = _mm256_set1_pd(by);
  const __m256d low = _mm256_cvtps_pd(_mm256_castps256_ps128(x));
  const __m256d high = _mm256_cvtps_pd(_mm256_extractf128_ps(x, 1));
  _mm256_storeu_pd(to, _mm256_mul_pd(low, factor));
  _mm256_storeu_pd(to + 4, _mm256_mul_pd(high, factor));
}

}  // namespace
}  // namespace anydraft::detail
