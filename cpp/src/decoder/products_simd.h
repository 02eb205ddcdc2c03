// Vectors of GCC's and Clang's own, and the few steps that need an instruction set's intrinsics.
#pragma once

#if defined(__AVX2__)
#if !defined(__clang__)
// Of GCC 12's own intrinsics.
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#include <immintrin.h>
#endif

#include <cmath>
#include <cstdint>
#include <cstring>

#include "anydraft/detail/distribution.h"

namespace anydraft::detail {
namespace {

#if defined(__AVX512VNNI__)
constexpr int kLanes = 16;
#elif defined(__AVX2__)
constexpr int kLanes = 8;
#else
constexpr int kLanes = 4;
#endif

typedef float Floats __attribute__((vector_size(4 * kLanes)));
typedef int32_t Ints __attribute__((vector_size(4 * kLanes)));
typedef uint32_t Words __attribute__((vector_size(4 * kLanes)));
typedef uint8_t Codes __attribute__((vector_size(4 * kLanes)));

template <class To, class From>
inline To cast(From from) {
  static_assert(sizeof(To) == sizeof(From), "one vector in another's place");
  To to;
  std::memcpy(&to, &from, sizeof to);
  return to;
}
template <class Vector>
inline Vector load(const void* from) {
  Vector vector;
  std::memcpy(&vector, from, sizeof vector);
  return vector;
}
inline Ints splat(uint32_t word) { return Ints{} + static_cast<int32_t>(word); }
inline Floats splat_float(uint32_t bits) { return cast<Floats>(splat(bits)); }
inline Floats to_floats(Ints x) { return __builtin_convertvector(x, Floats); }
inline Ints sign_extend(Ints bytes) { return cast<Ints>(cast<Words>(bytes) << 24) >> 24; }
inline void prefetch(const uint8_t* at) { __builtin_prefetch(at); }

#if defined(__AVX512VNNI__)

inline Floats fma(Floats a, Floats b, Floats c) { return _mm512_fmadd_ps(a, b, c); }
inline Floats halves(const uint8_t* from) {
  return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)));
}
inline Ints widen_bytes(const uint8_t* from) {
  return cast<Ints>(_mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from))));
}
// Adds to each lane its 4 codes times the 4 bytes (signed) of `quad`.
template <int kBits>
inline Ints dot(Ints sum, Codes codes, const uint32_t* quad) {
  return cast<Ints>(
      _mm512_dpbusd_epi32(cast<__m512i>(sum), cast<__m512i>(codes), cast<__m512i>(splat(*quad))));
}
constexpr bool kSignedBytes = false;

#elif defined(__AVX2__)

inline Floats fma(Floats a, Floats b, Floats c) { return _mm256_fmadd_ps(a, b, c); }
inline Floats halves(const uint8_t* from) {
  return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
}
inline Ints widen_bytes(const uint8_t* from) {
  return cast<Ints>(_mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(from))));
}
// 8-bit codes count from 128 here, so that sums of two products fit 16 bits.
template <int kBits>
inline Ints dot(Ints sum, Codes codes, const uint32_t* quad) {
  __m256i x = cast<__m256i>(splat(*quad)), w = cast<__m256i>(codes);
  if (kBits == 8) {
    const __m256i from_128 = _mm256_xor_si256(w, _mm256_set1_epi8(-128));
    x = _mm256_sign_epi8(x, from_128);
    w = _mm256_abs_epi8(from_128);
  }
  const __m256i pairs = _mm256_maddubs_epi16(w, x);
  return sum + cast<Ints>(_mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}
constexpr bool kSignedBytes = true;

#else

inline Floats fma(Floats a, Floats b, Floats c) {
  for (int i = 0; i < kLanes; ++i) c[i] = std::fma(a[i], b[i], c[i]);
  return c;
}
inline Floats halves(const uint8_t* from) {
  Floats out;
  for (int i = 0; i < kLanes; ++i) {
    uint16_t half;
    std::memcpy(&half, from + 2 * i, 2);
    out[i] = float_from_float16(half);
  }
  return out;
}
inline Ints widen_bytes(const uint8_t* from) {
  Ints out;
  for (int i = 0; i < kLanes; ++i) out[i] = from[i];
  return out;
}
template <int kBits>
inline Ints dot(Ints sum, Codes codes, const uint32_t* quad) {
  const Ints fours = cast<Ints>(codes);
  for (int j = 0; j < 4; ++j) {
    sum += (fours >> (8 * j) & 255) * static_cast<int8_t>(*quad >> (8 * j));
  }
  return sum;
}
constexpr bool kSignedBytes = false;

#endif

}  // namespace
}  // namespace anydraft::detail
