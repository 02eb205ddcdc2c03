// 16 floats of AVX-512 (F, BW, VL, DQ), under the names kernels.inc is written in.
#pragma once

#include <immintrin.h>

#include <cstdint>

namespace anydraft::detail {
namespace {

using Floats = __m512;
using Mask = __mmask16;
constexpr int kWidth = 16;

inline Floats splat(float x) { return _mm512_set1_ps(x); }
inline Floats load_floats(const float* from) { return _mm512_loadu_ps(from); }
inline Floats gather(const float* from, const int32_t* ids) {
  return _mm512_i32gather_ps(_mm512_loadu_si512(ids), from, 4);
}
inline Floats load_bfloat16(const uint16_t* from) {
  const __m256i half = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16));
}
inline Floats load_float16(const uint16_t* from) {
  return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)));
}
inline float one_float16(uint16_t half) { return _cvtsh_ss(half); }
inline void store(float* to, Floats x) { _mm512_storeu_ps(to, x); }

inline Floats add(Floats a, Floats b) { return _mm512_add_ps(a, b); }
inline Floats subtract(Floats a, Floats b) { return _mm512_sub_ps(a, b); }
inline Floats multiply(Floats a, Floats b) { return _mm512_mul_ps(a, b); }
inline Floats divide(Floats a, Floats b) { return _mm512_div_ps(a, b); }
inline Floats multiply_add(Floats a, Floats b, Floats c) { return _mm512_fmadd_ps(a, b, c); }
inline Floats multiply_subtract(Floats a, Floats b, Floats c) { return _mm512_fmsub_ps(a, b, c); }
// `so_far` where x is NaN.
inline Floats larger(Floats x, Floats so_far) { return _mm512_max_ps(x, so_far); }

inline Mask not_below(Floats x, Floats lower) { return _mm512_cmp_ps_mask(x, lower, _CMP_NLT_UQ); }
inline Mask is_nan(Floats x) { return _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q); }
inline Mask either(Mask a, Mask b) { return a | b; }
inline uint32_t bits_of(Mask mask) { return mask; }
inline Floats zero_unless(Mask keep, Floats x) { return _mm512_maskz_mov_ps(keep, x); }
// min(x, so_far) where `keep`, else so_far; so_far where x is NaN.
inline Floats smaller_where(Mask keep, Floats x, Floats so_far) {
  return _mm512_mask_min_ps(so_far, keep, x, so_far);
}

// x * 2^(low bits of n - exponent), NaN where x is: a power of two in [-126, 127].
inline Floats shift_exponent(Floats x, Floats n, int32_t exponent) {
  const __m512i shift = _mm512_sub_epi32(_mm512_castps_si512(n), _mm512_set1_epi32(exponent - 127));
  return _mm512_mul_ps(x, _mm512_castsi512_ps(_mm512_slli_epi32(shift, 23)));
}

// Rounded towards zero.
inline void store_whole(int32_t* to, Floats x) { _mm512_storeu_si512(to, _mm512_cvttps_epi32(x)); }
inline void store_whole(uint64_t* to, Floats x) {
  _mm512_storeu_si512(to, _mm512_cvttps_epi64(_mm512_castps512_ps256(x)));
  _mm512_storeu_si512(to + 8, _mm512_cvttps_epi64(_mm512_extractf32x8_ps(x, 1)));
}

inline Floats choose(Mask keep, Floats x, Floats otherwise) {
  return _mm512_mask_mov_ps(otherwise, keep, x);
}
// Entries in the lanes of `bits`, `otherwise` in the others; reads a whole vector.
inline Floats expand(const float* packed, uint32_t bits, float otherwise) {
  return _mm512_mask_expand_ps(splat(otherwise), static_cast<Mask>(bits), load_floats(packed));
}

// 4 doubles: 8 are no faster where a machine takes 512 bits in halves.
using Doubles = __m256d;
constexpr int kDoubles = 4;

inline Doubles splat_double(double x) { return _mm256_set1_pd(x); }
inline Doubles widen(const float* from) { return _mm256_cvtps_pd(_mm_loadu_ps(from)); }
inline void store(double* to, Doubles x) { _mm256_storeu_pd(to, x); }
inline Doubles add(Doubles a, Doubles b) { return _mm256_add_pd(a, b); }
inline Doubles multiply(Doubles a, Doubles b) { return _mm256_mul_pd(a, b); }
inline Doubles multiply_add(Doubles a, Doubles b, Doubles c) { return _mm256_fmadd_pd(a, b, c); }
// The larger of finite x and 0, compared as integers: the units that multiply are the busy ones.
inline Doubles positive(Doubles x) {
  return _mm256_castsi256_pd(_mm256_max_epi64(_mm256_castpd_si256(x), _mm256_setzero_si256()));
}
inline Doubles smaller(Doubles a, Doubles b) { return _mm256_min_pd(a, b); }

// to[i] = x[i] * by
inline void store_products(double* to, Floats x, double by) {
  const __m512d factor = _mm512_set1_pd(by);
  const __m512d low = _mm512_cvtps_pd(_mm512_castps512_ps256(x));
  const __m512d high = _mm512_cvtps_pd(_mm512_extractf32x8_ps(x, 1));
  _mm512_storeu_pd(to, _mm512_mul_pd(low, factor));
  _mm512_storeu_pd(to + 8, _mm512_mul_pd(high, factor));
}

}  // namespace
}  // namespace anydraft::detail
