// A vector of floats for the instruction set this file is compiled for: `vec`, `lanes` of them, and what kernels need.
// Integers and comparisons stay out of the interface, so that a new instruction set is one page.
#pragma once

#if defined(RECURLM_KERNEL_neon)
#include <arm_neon.h>
#else
#include <immintrin.h>
#endif

#include "kernels/table.h"

namespace recurlm::kernels::RECURLM_KERNEL_ISA {
namespace {

#define RECURLM_INLINE inline __attribute__((always_inline))

#if defined(RECURLM_KERNEL_avx512)

constexpr int lanes = 16;
struct vec {
  __m512 v;
};
RECURLM_INLINE __mmask16 first_lanes(index n) { return static_cast<__mmask16>((1u << n) - 1); }

RECURLM_INLINE vec set1(float x) { return {_mm512_set1_ps(x)}; }
RECURLM_INLINE vec load(const float* p) { return {_mm512_loadu_ps(p)}; }
RECURLM_INLINE vec load_pairs(const bfloat16* p) { return {_mm512_castsi512_ps(_mm512_loadu_si512(p))}; }
RECURLM_INLINE vec even_of_pairs(vec a) { return {_mm512_castsi512_ps(_mm512_slli_epi32(_mm512_castps_si512(a.v), 16))}; }
RECURLM_INLINE vec odd_of_pairs(vec a) {
  return {_mm512_castsi512_ps(_mm512_and_si512(_mm512_castps_si512(a.v), _mm512_set1_epi32(-65536)))};
}
RECURLM_INLINE vec load_n(const float* p, index n) { return {_mm512_maskz_loadu_ps(first_lanes(n), p)}; }
RECURLM_INLINE void store(float* p, vec a) { _mm512_storeu_ps(p, a.v); }
RECURLM_INLINE void store_n(float* p, vec a, index n) { _mm512_mask_storeu_ps(p, first_lanes(n), a.v); }
RECURLM_INLINE vec operator+(vec a, vec b) { return {_mm512_add_ps(a.v, b.v)}; }
RECURLM_INLINE vec operator-(vec a, vec b) { return {_mm512_sub_ps(a.v, b.v)}; }
RECURLM_INLINE vec operator*(vec a, vec b) { return {_mm512_mul_ps(a.v, b.v)}; }
RECURLM_INLINE vec operator/(vec a, vec b) { return {_mm512_div_ps(a.v, b.v)}; }
RECURLM_INLINE vec fmadd(vec a, vec b, vec c) { return {_mm512_fmadd_ps(a.v, b.v, c.v)}; }
RECURLM_INLINE vec min(vec a, vec b) { return {_mm512_min_ps(a.v, b.v)}; }
RECURLM_INLINE vec max(vec a, vec b) { return {_mm512_max_ps(a.v, b.v)}; }
RECURLM_INLINE vec sqrt(vec a) { return {_mm512_sqrt_ps(a.v)}; }
RECURLM_INLINE vec select_gt(vec a, vec b, vec yes, vec no) {
  return {_mm512_mask_blend_ps(_mm512_cmp_ps_mask(a.v, b.v, _CMP_GT_OQ), no.v, yes.v)};
}
RECURLM_INLINE vec select_ge(vec a, vec b, vec yes, vec no) {
  return {_mm512_mask_blend_ps(_mm512_cmp_ps_mask(a.v, b.v, _CMP_GE_OQ), no.v, yes.v)};
}
// The low bits of a number, where a float has its exponent.
RECURLM_INLINE vec as_exponent(vec a) { return {_mm512_castsi512_ps(_mm512_slli_epi32(_mm512_castps_si512(a.v), 23))}; }

#elif defined(RECURLM_KERNEL_avx2)

constexpr int lanes = 8;
struct vec {
  __m256 v;
};
RECURLM_INLINE __m256i first_lanes(index n) {
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(n)), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

RECURLM_INLINE vec set1(float x) { return {_mm256_set1_ps(x)}; }
RECURLM_INLINE vec load(const float* p) { return {_mm256_loadu_ps(p)}; }
RECURLM_INLINE vec load_pairs(const bfloat16* p) { return {_mm256_loadu_ps(reinterpret_cast<const float*>(p))}; }
RECURLM_INLINE vec even_of_pairs(vec a) { return {_mm256_castsi256_ps(_mm256_slli_epi32(_mm256_castps_si256(a.v), 16))}; }
RECURLM_INLINE vec odd_of_pairs(vec a) {
  return {_mm256_and_ps(a.v, _mm256_castsi256_ps(_mm256_set1_epi32(-65536)))};
}
RECURLM_INLINE vec load_n(const float* p, index n) {
  return n >= lanes ? load(p) : vec{_mm256_maskload_ps(p, first_lanes(n))};
}
RECURLM_INLINE void store(float* p, vec a) { _mm256_storeu_ps(p, a.v); }
// A masked store is some twenty operations inside AMD's cores: whole vectors go without (3 to 10 points of the peak).
RECURLM_INLINE void store_n(float* p, vec a, index n) {
  n >= lanes ? store(p, a) : _mm256_maskstore_ps(p, first_lanes(n), a.v);
}
RECURLM_INLINE vec operator+(vec a, vec b) { return {_mm256_add_ps(a.v, b.v)}; }
RECURLM_INLINE vec operator-(vec a, vec b) { return {_mm256_sub_ps(a.v, b.v)}; }
RECURLM_INLINE vec operator*(vec a, vec b) { return {_mm256_mul_ps(a.v, b.v)}; }
RECURLM_INLINE vec operator/(vec a, vec b) { return {_mm256_div_ps(a.v, b.v)}; }
RECURLM_INLINE vec fmadd(vec a, vec b, vec c) { return {_mm256_fmadd_ps(a.v, b.v, c.v)}; }
RECURLM_INLINE vec min(vec a, vec b) { return {_mm256_min_ps(a.v, b.v)}; }
RECURLM_INLINE vec max(vec a, vec b) { return {_mm256_max_ps(a.v, b.v)}; }
RECURLM_INLINE vec sqrt(vec a) { return {_mm256_sqrt_ps(a.v)}; }
RECURLM_INLINE vec select_gt(vec a, vec b, vec yes, vec no) {
  return {_mm256_blendv_ps(no.v, yes.v, _mm256_cmp_ps(a.v, b.v, _CMP_GT_OQ))};
}
RECURLM_INLINE vec select_ge(vec a, vec b, vec yes, vec no) {
  return {_mm256_blendv_ps(no.v, yes.v, _mm256_cmp_ps(a.v, b.v, _CMP_GE_OQ))};
}
RECURLM_INLINE vec as_exponent(vec a) { return {_mm256_castsi256_ps(_mm256_slli_epi32(_mm256_castps_si256(a.v), 23))}; }

#elif defined(RECURLM_KERNEL_neon)

constexpr int lanes = 4;
struct vec {
  float32x4_t v;
};

RECURLM_INLINE vec set1(float x) { return {vdupq_n_f32(x)}; }
RECURLM_INLINE vec load(const float* p) { return {vld1q_f32(p)}; }
RECURLM_INLINE vec load_pairs(const bfloat16* p) {
  return {vreinterpretq_f32_u16(vld1q_u16(reinterpret_cast<const std::uint16_t*>(p)))};
}
RECURLM_INLINE vec even_of_pairs(vec a) { return {vreinterpretq_f32_u32(vshlq_n_u32(vreinterpretq_u32_f32(a.v), 16))}; }
RECURLM_INLINE vec odd_of_pairs(vec a) {
  return {vreinterpretq_f32_u32(vandq_u32(vreinterpretq_u32_f32(a.v), vdupq_n_u32(0xffff0000u)))};
}
RECURLM_INLINE vec load_n(const float* p, index n) {
  if (n >= lanes) return load(p);
  float x[lanes] = {};
  for (index i = 0; i < n; ++i) x[i] = p[i];
  return load(x);
}
RECURLM_INLINE void store(float* p, vec a) { vst1q_f32(p, a.v); }
RECURLM_INLINE void store_n(float* p, vec a, index n) {
  if (n >= lanes) return store(p, a);
  float x[lanes];
  store(x, a);
  for (index i = 0; i < n; ++i) p[i] = x[i];
}
RECURLM_INLINE vec operator+(vec a, vec b) { return {vaddq_f32(a.v, b.v)}; }
RECURLM_INLINE vec operator-(vec a, vec b) { return {vsubq_f32(a.v, b.v)}; }
RECURLM_INLINE vec operator*(vec a, vec b) { return {vmulq_f32(a.v, b.v)}; }
RECURLM_INLINE vec operator/(vec a, vec b) { return {vdivq_f32(a.v, b.v)}; }
RECURLM_INLINE vec fmadd(vec a, vec b, vec c) { return {vfmaq_f32(c.v, a.v, b.v)}; }
RECURLM_INLINE vec select_gt(vec a, vec b, vec yes, vec no) { return {vbslq_f32(vcgtq_f32(a.v, b.v), yes.v, no.v)}; }
RECURLM_INLINE vec select_ge(vec a, vec b, vec yes, vec no) { return {vbslq_f32(vcgeq_f32(a.v, b.v), yes.v, no.v)}; }
// Of a number and a NaN the second, as elsewhere; the instructions would give the NaN.
RECURLM_INLINE vec min(vec a, vec b) { return select_gt(b, a, a, b); }
RECURLM_INLINE vec max(vec a, vec b) { return select_gt(a, b, a, b); }
RECURLM_INLINE vec sqrt(vec a) { return {vsqrtq_f32(a.v)}; }
RECURLM_INLINE vec as_exponent(vec a) { return {vreinterpretq_f32_s32(vshlq_n_s32(vreinterpretq_s32_f32(a.v), 23))}; }

#else  // sse4

constexpr int lanes = 4;
struct vec {
  __m128 v;
};

RECURLM_INLINE vec set1(float x) { return {_mm_set1_ps(x)}; }
RECURLM_INLINE vec load(const float* p) { return {_mm_loadu_ps(p)}; }
RECURLM_INLINE vec load_pairs(const bfloat16* p) { return {_mm_loadu_ps(reinterpret_cast<const float*>(p))}; }
RECURLM_INLINE vec even_of_pairs(vec a) { return {_mm_castsi128_ps(_mm_slli_epi32(_mm_castps_si128(a.v), 16))}; }
RECURLM_INLINE vec odd_of_pairs(vec a) { return {_mm_and_ps(a.v, _mm_castsi128_ps(_mm_set1_epi32(-65536)))}; }
RECURLM_INLINE vec load_n(const float* p, index n) {
  float x[lanes] = {};
  for (index i = 0; i < n && i < lanes; ++i) x[i] = p[i];
  return load(x);
}
RECURLM_INLINE void store(float* p, vec a) { _mm_storeu_ps(p, a.v); }
RECURLM_INLINE void store_n(float* p, vec a, index n) {
  float x[lanes];
  store(x, a);
  for (index i = 0; i < n && i < lanes; ++i) p[i] = x[i];
}
RECURLM_INLINE vec operator+(vec a, vec b) { return {_mm_add_ps(a.v, b.v)}; }
RECURLM_INLINE vec operator-(vec a, vec b) { return {_mm_sub_ps(a.v, b.v)}; }
RECURLM_INLINE vec operator*(vec a, vec b) { return {_mm_mul_ps(a.v, b.v)}; }
RECURLM_INLINE vec operator/(vec a, vec b) { return {_mm_div_ps(a.v, b.v)}; }
RECURLM_INLINE vec fmadd(vec a, vec b, vec c) { return {_mm_add_ps(_mm_mul_ps(a.v, b.v), c.v)}; }  // two roundings
RECURLM_INLINE vec min(vec a, vec b) { return {_mm_min_ps(a.v, b.v)}; }
RECURLM_INLINE vec max(vec a, vec b) { return {_mm_max_ps(a.v, b.v)}; }
RECURLM_INLINE vec sqrt(vec a) { return {_mm_sqrt_ps(a.v)}; }
RECURLM_INLINE vec select_gt(vec a, vec b, vec yes, vec no) {
  return {_mm_blendv_ps(no.v, yes.v, _mm_cmpgt_ps(a.v, b.v))};
}
RECURLM_INLINE vec select_ge(vec a, vec b, vec yes, vec no) {
  return {_mm_blendv_ps(no.v, yes.v, _mm_cmpge_ps(a.v, b.v))};
}
RECURLM_INLINE vec as_exponent(vec a) { return {_mm_castsi128_ps(_mm_slli_epi32(_mm_castps_si128(a.v), 23))}; }

#endif

RECURLM_INLINE vec broadcast(float x) { return set1(x); }
RECURLM_INLINE vec broadcast(bfloat16 x) {
  const std::uint32_t bits = std::uint32_t{x.bits} << 16;
  float value;
  __builtin_memcpy(&value, &bits, sizeof value);
  return set1(value);
}

// One of the rows that lie together: float32 rows lie alone, bfloat16 by pairs.
template <int place>
RECURLM_INLINE vec load_weights(const float* p) {
  return load(p);
}
template <int place>
RECURLM_INLINE vec load_weights(const bfloat16* p) {
  return place == 0 ? even_of_pairs(load_pairs(p)) : odd_of_pairs(load_pairs(p));
}

// In a fixed order of lanes.
RECURLM_INLINE float sum(vec a) {
  float x[lanes];
  store(x, a);
  for (int width = lanes / 2; width > 0; width /= 2)
    for (int i = 0; i < width; ++i) x[i] += x[i + width];
  return x[0];
}

// None may be NaN.
RECURLM_INLINE float largest_lane(vec a) {
  float x[lanes];
  store(x, a);
  for (int width = lanes / 2; width > 0; width /= 2)
    for (int i = 0; i < width; ++i) x[i] = x[i] > x[i + width] ? x[i] : x[i + width];
  return x[0];
}

// How many of the lanes from p on belong to `count` elements.
RECURLM_INLINE index tail(index count, index i) { return count - i < lanes ? (count > i ? count - i : 0) : lanes; }

}  // namespace
}  // namespace recurlm::kernels::RECURLM_KERNEL_ISA
