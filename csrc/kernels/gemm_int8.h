// The matrix product in int8, four products to a 32-bit sum, and the quantisation of its left operand.
#pragma once

#include "kernels/gemm.h"

namespace recurlm::kernels::RECURLM_KERNEL_ISA {
namespace {

// `ints`: `lanes` sums. Quad: four elements of a row of A, the same in every lane. dot adds four products to each sum.
//
// The instructions multiply an unsigned by a signed byte. |a| (sign of a) b is a b, and since neither exceeds 127 no pair of
// products saturates 16 bits. VNNI sums all four in 32 bits, so it takes a + 128 instead, which is how quantize_rows stores them for
// it; its sums start from -128 times the column's sum.
#if defined(RECURLM_KERNEL_avx512vnni)
using ints = __m512i;
struct Quad {
  ints shifted;
};
constexpr bool quads_are_loads = true;
RECURLM_INLINE ints load_ints(const void* p) { return _mm512_loadu_si512(p); }
RECURLM_INLINE ints first_sums(const std::int32_t* column_sums) {
  return _mm512_sub_epi32(_mm512_setzero_si512(), _mm512_slli_epi32(load_ints(column_sums), 7));
}
RECURLM_INLINE Quad make_quad(int four) { return {_mm512_set1_epi32(four)}; }
RECURLM_INLINE ints dot(ints sums, Quad a, ints b) { return _mm512_dpbusd_epi32(sums, a.shifted, b); }
RECURLM_INLINE vec to_float(ints a) { return {_mm512_cvtepi32_ps(a)}; }
#elif defined(RECURLM_KERNEL_avx512)
using ints = __m512i;
struct Quad {
  ints magnitude;
  __mmask64 negative;
};
RECURLM_INLINE ints load_ints(const void* p) { return _mm512_loadu_si512(p); }
RECURLM_INLINE ints first_sums(const std::int32_t*) { return _mm512_setzero_si512(); }
RECURLM_INLINE Quad make_quad(int four) {
  const ints a = _mm512_set1_epi32(four);
  return {_mm512_abs_epi8(a), _mm512_movepi8_mask(a)};
}
RECURLM_INLINE ints dot(ints sums, Quad a, ints b) {
  const ints signed_b = _mm512_mask_sub_epi8(b, a.negative, _mm512_setzero_si512(), b);
  return _mm512_add_epi32(sums, _mm512_madd_epi16(_mm512_maddubs_epi16(a.magnitude, signed_b), _mm512_set1_epi16(1)));
}
RECURLM_INLINE vec to_float(ints a) { return {_mm512_cvtepi32_ps(a)}; }
#elif defined(RECURLM_KERNEL_avx2)
using ints = __m256i;
struct Quad {
  ints magnitude, value;
};
RECURLM_INLINE ints load_ints(const void* p) { return _mm256_loadu_si256(static_cast<const __m256i*>(p)); }
RECURLM_INLINE ints first_sums(const std::int32_t*) { return _mm256_setzero_si256(); }
RECURLM_INLINE Quad make_quad(int four) {
  const ints a = _mm256_set1_epi32(four);
  return {_mm256_abs_epi8(a), a};
}
RECURLM_INLINE ints dot(ints sums, Quad a, ints b) {
  const ints pairs = _mm256_maddubs_epi16(a.magnitude, _mm256_sign_epi8(b, a.value));
  return _mm256_add_epi32(sums, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}
RECURLM_INLINE vec to_float(ints a) { return {_mm256_cvtepi32_ps(a)}; }
#elif defined(RECURLM_KERNEL_neon)
// Signed bytes are multiplied as they are.
using ints = int32x4_t;
struct Quad {
  int8x16_t value;
};
RECURLM_INLINE ints load_ints(const void* p) { return vreinterpretq_s32_s8(vld1q_s8(static_cast<const std::int8_t*>(p))); }
RECURLM_INLINE ints first_sums(const std::int32_t*) { return vdupq_n_s32(0); }
RECURLM_INLINE Quad make_quad(int four) { return {vreinterpretq_s8_s32(vdupq_n_s32(four))}; }
RECURLM_INLINE ints dot(ints sums, Quad a, ints b) {
  const int8x16_t bytes = vreinterpretq_s8_s32(b);
  const int16x8_t low = vmull_s8(vget_low_s8(a.value), vget_low_s8(bytes)), high = vmull_high_s8(a.value, bytes);
  return vaddq_s32(sums, vpaddq_s32(vpaddlq_s16(low), vpaddlq_s16(high)));
}
RECURLM_INLINE vec to_float(ints a) { return {vcvtq_f32_s32(a)}; }
#else
using ints = __m128i;
struct Quad {
  ints magnitude, value;
};
RECURLM_INLINE ints load_ints(const void* p) { return _mm_loadu_si128(static_cast<const __m128i*>(p)); }
RECURLM_INLINE ints first_sums(const std::int32_t*) { return _mm_setzero_si128(); }
RECURLM_INLINE Quad make_quad(int four) {
  const ints a = _mm_set1_epi32(four);
  return {_mm_abs_epi8(a), a};
}
RECURLM_INLINE ints dot(ints sums, Quad a, ints b) {
  const ints pairs = _mm_maddubs_epi16(a.magnitude, _mm_sign_epi8(b, a.value));
  return _mm_add_epi32(sums, _mm_madd_epi16(pairs, _mm_set1_epi16(1)));
}
RECURLM_INLINE vec to_float(ints a) { return {_mm_cvtepi32_ps(a)}; }
#endif

#if !defined(RECURLM_KERNEL_avx512vnni)
constexpr bool quads_are_loads = false;
#endif
constexpr int quad = 4;

RECURLM_INLINE Quad load_quad(const std::int8_t* p) {
  int four;
  __builtin_memcpy(&four, p, sizeof four);
  return make_quad(four);
}

// Sums += four columns of A times four rows of B. What costs more to make is held in registers.
template <int M, int T>
RECURLM_INLINE void multiply_quad(const GemmInt8& g, const std::int8_t* a, const std::int8_t* b, ints (&acc)[T][M][tile_vectors]) {
  const auto at = [&](int t, int v) __attribute__((always_inline)) { return load_ints(b + t * g.b_panel + v * lanes * quad); };
  if constexpr (quads_are_loads) {
    ints row[T][tile_vectors];
    for (int t = 0; t < T; ++t)
      for (int v = 0; v < tile_vectors; ++v) row[t][v] = at(t, v);
    for (int m = 0; m < M; ++m) {
      const Quad am = load_quad(a + m * g.a_row);
      for (int t = 0; t < T; ++t)
        for (int v = 0; v < tile_vectors; ++v) acc[t][m][v] = dot(acc[t][m][v], am, row[t][v]);
    }
  } else {
    Quad column[M];
    for (int m = 0; m < M; ++m) column[m] = load_quad(a + m * g.a_row);
    for (int t = 0; t < T; ++t)
      for (int v = 0; v < tile_vectors; ++v) {
        const ints bv = at(t, v);
        for (int m = 0; m < M; ++m) acc[t][m][v] = dot(acc[t][m][v], column[m], bv);
      }
  }
}

// How what has been summed up for `lanes` packed columns goes to C.
struct Scaling {
  Init init;
  vec scales, bias;
  const float* initial;
  index width;

  Scaling() = default;
  RECURLM_INLINE Scaling(const GemmInt8& g, index column, index width)
      : init(g.init),
        scales(load(g.b_scales + column)),
        bias(init == Init::bias ? load(g.bias + column) : set1(0.0f)),
        initial(init == Init::rows ? g.initial + column / panel_width * g.initial_panel + column % panel_width : nullptr),
        width(width) {}
  RECURLM_INLINE void store(const GemmInt8& g, index row, ints sums, float* c) const {
    const vec from = init == Init::accumulate ? load_n(c, width)
                     : init == Init::rows     ? load(initial + g.initial_rows[row] * panel_width)
                                              : bias;
    store_n(c, fmadd(to_float(sums), set1(g.a_scales[row]) * scales, from), width);
  }
};

// Rows [row, row + M) and T panels from `panel` on, tile_columns of each from `first_column` on.
template <int M, int T>
__attribute__((noinline)) void int8_tile(const GemmInt8& g, index row, index panel, int first_column) {
  ints acc[T][M][tile_vectors];
  const auto each = [&](auto&& visit) __attribute__((always_inline)) {
    for (int t = 0; t < T; ++t)
      for (int m = 0; m < M; ++m)
        for (int v = 0; v < tile_vectors; ++v) visit(t, m, v, (panel + t) * panel_width + first_column + v * lanes);
  };
  each([&](int t, int m, int v, index column) { acc[t][m][v] = first_sums(g.b_sums + column); });
  const std::int8_t* a = g.a + row * g.a_row;
  const std::int8_t* b = g.b + panel * g.b_panel + first_column * quad;
  for (index k = 0; k < g.depth; k += quad, a += quad, b += quad * panel_width) multiply_quad<M, T>(g, a, b, acc);
  TileColumns to[T];
  for (int t = 0; t < T; ++t) to[t] = tile_columns_at(g.columns + 2 * (panel + t), first_column);
  each([&](int t, int m, int v, index column) {
    const Scaling scaling(g, column, to[t].width[v]);
    scaling.store(g, row + m, acc[t][m][v], g.c + (row + m) * g.c_row + to[t].offset[v]);
  });
}

template <int... M>
struct Int8Tiles {
  static constexpr int max_rows = sizeof...(M);
  static constexpr void (*by_rows[])(const GemmInt8&, index row, index panel, int first_column) = {nullptr, int8_tile<M, 1>...};
};

#if defined(RECURLM_KERNEL_avx512vnni)
constexpr int int8_wide_panels = 4;
using Int8 = Int8Tiles<1, 2, 3, 4, 5, 6, 7, 8>;  // 13, which fill the registers, are a third slower
#elif defined(RECURLM_KERNEL_avx512)
constexpr int int8_wide_panels = 4;
using Int8 = Int8Tiles<1, 2, 3, 4, 5, 6>;
#else  // one panel alone would not keep the pipeline full: 42 GB/s of weights instead of 57 (AVX2)
constexpr int int8_wide_panels = 2;
using Int8 = Int8Tiles<1, 2>;
#endif

void gemm_int8(const GemmInt8& g) {
  index panel = 0;
  if (g.rows == 1)
    for (; panel + int8_wide_panels <= g.panels; panel += int8_wide_panels)
      for (int column = 0; column < panel_width; column += tile_columns) int8_tile<1, int8_wide_panels>(g, 0, panel, column);
  const index tiles = (g.rows + Int8::max_rows - 1) / Int8::max_rows;
  for (; panel < g.panels; ++panel)
    for (index i = 0; i < tiles; ++i) {
      const index row = g.rows * i / tiles, end = g.rows * (i + 1) / tiles;
      for (int column = 0; column < panel_width; column += tile_columns) Int8::by_rows[end - row](g, row, panel, column);
    }
}

// Sixteen floats times `scale` as the nearest integers.
#if defined(RECURLM_KERNEL_avx512)
RECURLM_INLINE void store_int8(const float* x, float scale, std::int8_t* to) {
  const __m128i nearest = _mm512_cvtsepi32_epi8(_mm512_cvtps_epi32((load(x) * set1(scale)).v));
  const __m128i shift = quads_are_loads ? _mm_set1_epi8(-128) : _mm_setzero_si128();
  _mm_storeu_si128(reinterpret_cast<__m128i*>(to), _mm_xor_si128(nearest, shift));
}
#elif defined(RECURLM_KERNEL_neon)
RECURLM_INLINE int16x4_t nearest(const float* x, float scale) {
  return vqmovn_s32(vcvtnq_s32_f32(vmulq_n_f32(vld1q_f32(x), scale)));
}
RECURLM_INLINE void store_int8(const float* x, float scale, std::int8_t* to) {
  vst1_s8(to, vqmovn_s16(vcombine_s16(nearest(x, scale), nearest(x + 4, scale))));
  vst1_s8(to + 8, vqmovn_s16(vcombine_s16(nearest(x + 8, scale), nearest(x + 12, scale))));
}
#else
RECURLM_INLINE void store_int8(const float* x, float scale, std::int8_t* to) {
  __m128i part[4];
  for (int i = 0; i < 4; ++i) part[i] = _mm_cvtps_epi32(_mm_mul_ps(_mm_loadu_ps(x + 4 * i), _mm_set1_ps(scale)));
  const __m128i low = _mm_packs_epi32(part[0], part[1]), high = _mm_packs_epi32(part[2], part[3]);
  _mm_storeu_si128(reinterpret_cast<__m128i*>(to), _mm_packs_epi16(low, high));
}
#endif

// max |x|, or NaN where an element is not finite. Four vectors at a time: one alone would wait for the comparison before.
RECURLM_INLINE float largest_magnitude(index count, const float* x) {
  constexpr int chains = 4;
  vec largest[chains], zero_or_nan[chains];
  for (int i = 0; i < chains; ++i) largest[i] = zero_or_nan[i] = set1(0.0f);
  const auto take = [&](int chain, vec a) __attribute__((always_inline)) {
    largest[chain] = max(max(a, set1(0.0f) - a), largest[chain]);
    zero_or_nan[chain] = fmadd(a, set1(0.0f), zero_or_nan[chain]);
  };
  index i = 0;
  for (; i + chains * lanes <= count; i += chains * lanes)
    for (int chain = 0; chain < chains; ++chain) take(chain, load(x + i + chain * lanes));
  for (; i < count; i += lanes) take(0, load_n(x + i, tail(count, i)));
  const vec both = max(max(largest[0], largest[1]), max(largest[2], largest[3]));
  return largest_lane(both) + sum(zero_or_nan[0] + zero_or_nan[1] + (zero_or_nan[2] + zero_or_nan[3]));
}

void quantize_rows(index rows, index depth, const float* a, index a_row, std::int8_t* q, index q_row, float* scales) {
  for (index r = 0; r < rows; ++r, a += a_row, q += q_row) {
    const float magnitude = largest_magnitude(depth, a);
    scales[r] = magnitude / 127;
    // A tiny row becomes 0. The integers of one that is not finite mean nothing: its scale is NaN.
    const float inverse = magnitude > 1e-30f && magnitude < __builtin_inff() ? 127 / magnitude : 0.0f;
    index k = 0;
    for (; k + half_width <= depth; k += half_width) store_int8(a + k, inverse, q + k);
    if (k == depth) continue;
    float rest[half_width] = {};
    for (index i = k; i < depth; ++i) rest[i - k] = a[i];
    store_int8(rest, inverse, q + k);
  }
}

}  // namespace
}  // namespace recurlm::kernels::RECURLM_KERNEL_ISA
