// The matrix product on packed panels: a tile of rows x columns of C in registers, rows of A broadcast.
#pragma once

#include "kernels/vec.h"

namespace recurlm::kernels::RECURLM_KERNEL_ISA {
namespace {

// Registers: AVX-512 has 32, so 13 rows x 2 vectors of sums, two of B, one broadcast. AVX2 has 16: 3 rows x 4 vectors, three
// broadcasts, one of B; it reads a panel's lines in the order in which they lie, and 7 operands for 12 products where a tile of
// 6 x 2 reads 8, skipping every other line (5 points of the peak). SSE has no broadcast from memory: 6 x 2.
constexpr int gemm_max_rows = lanes == 16 ? 13 : lanes == 8 ? 3 : 6;
constexpr int tile_vectors = lanes == 8 ? 4 : 2;
constexpr int tile_columns = tile_vectors * lanes;
constexpr int registers = lanes == 16 ? 32 : 16;

// The vectors of one row of a tile, wherever in C their columns lie: a half panel is `half_width / lanes` vectors.
struct TileColumns {
  index offset[tile_vectors];
  index width[tile_vectors];
};

RECURLM_INLINE TileColumns tile_columns_at(const Column* columns, int first) {
  TileColumns tile;
  for (int v = 0; v < tile_vectors; ++v) {
    const int at = first + v * lanes;
    const Column& half = columns[at / half_width];
    tile.offset[v] = half.offset + at % half_width;
    tile.width[v] = tail(half.width, at % half_width);
  }
  return tile;
}

// A line into the first-level cache, or no further than the second.
template <typename T>
RECURLM_INLINE void prefetch(const T* line) { __builtin_prefetch(line, 0, 3); }
template <typename T>
RECURLM_INLINE void prefetch_far(const T* line) { __builtin_prefetch(line, 0, 2); }

// Rows of B that lie together in a panel, column by column: two in bfloat16.
template <typename Right>
constexpr int row_group = 1;
template <>
constexpr int row_group<bfloat16> = 2;

// How a step of k multiplies: one row of B, the one at `place` in its group.
template <int place>
struct OneRow {
  template <typename Left>
  RECURLM_INLINE static vec left(const Left* a) { return broadcast(a[place]); }
  template <typename Right>
  RECURLM_INLINE static vec right(const Right* b) { return load_weights<place>(b); }
  RECURLM_INLINE static vec multiply_add(vec a, vec b, vec sum) { return fmadd(a, b, sum); }
};

#if defined(RECURLM_KERNEL_avx512bf16)
// Or both rows of a pair in one instruction, which flushes subnormal numbers to zero.
struct BothRows {
  RECURLM_INLINE static vec left(const bfloat16* a) {
    float pair;
    __builtin_memcpy(&pair, a, sizeof pair);
    return set1(pair);
  }
  RECURLM_INLINE static vec right(const bfloat16* b) { return load_pairs(b); }
  RECURLM_INLINE static vec multiply_add(vec a, vec b, vec sum) {
    return {_mm512_dpbf16_ps(sum.v, reinterpret_cast<__m512bh>(a.v), reinterpret_cast<__m512bh>(b.v))};
  }
};
#endif

// Sums += a column of A times a row of B.
template <int M, int T, typename Step, typename Left, typename Right>
RECURLM_INLINE void multiply_row(const GemmOf<Left, Right>& g, const Left* a, const Right* b, vec (&acc)[T][M][tile_vectors]) {
  const auto at = [&](int t, int v) __attribute__((always_inline)) {
    return Step::right(b + t * g.b_panel + v * lanes * row_group<Right>);
  };
  if constexpr ((M + 1) * T * tile_vectors + 1 > registers) {
    vec column[M];
    for (int m = 0; m < M; ++m) column[m] = Step::left(a + m * g.a_row);
    for (int t = 0; t < T; ++t)
      for (int v = 0; v < tile_vectors; ++v) {
        const vec bv = at(t, v);
        for (int m = 0; m < M; ++m) acc[t][m][v] = Step::multiply_add(column[m], bv, acc[t][m][v]);
      }
  } else {
    vec row[T][tile_vectors];
    for (int t = 0; t < T; ++t)
      for (int v = 0; v < tile_vectors; ++v) row[t][v] = at(t, v);
    for (int m = 0; m < M; ++m) {
      const vec am = Step::left(a + m * g.a_row);
      for (int t = 0; t < T; ++t)
        for (int v = 0; v < tile_vectors; ++v) acc[t][m][v] = Step::multiply_add(am, row[t][v], acc[t][m][v]);
    }
  }
}

// The rows of B that lie together from b on, or the last of them where the depth is odd.
template <int M, int T, typename Left, typename Right>
RECURLM_INLINE void multiply_group(const GemmOf<Left, Right>& g, bool whole, const Left* a, const Right* b,
                                   vec (&acc)[T][M][tile_vectors]) {
#if defined(RECURLM_KERNEL_avx512bf16)
  if constexpr (sizeof(Left) == sizeof(bfloat16)) return multiply_row<M, T, BothRows>(g, a, b, acc);
#endif
  multiply_row<M, T, OneRow<0>>(g, a, b, acc);
  if constexpr (row_group<Right> == 2)
    if (whole) multiply_row<M, T, OneRow<1>>(g, a, b, acc);
}

// Sums += A B over `depth` steps of k. Beside the sums a row of B is held in registers, or where these are too few a column of A.
// Of the next panel, where there is one, `next_step` weights are asked for with each k.
template <int M, int T, bool has_next, typename Left, typename Right>
RECURLM_INLINE void multiply_run(const GemmOf<Left, Right>& g, index depth, const Left* a, const Right* b, const Right* next_b,
                                 index next_step, vec (&acc)[T][M][tile_vectors]) {
  constexpr int group = row_group<Right>;
  if constexpr (sizeof(Left) == sizeof(bfloat16)) depth += depth % 2;  // behind an odd one stands a row of zeros
  index k = 0;
  for (; k + group <= depth; k += group, a += group, b += group * panel_width) {
    if constexpr (has_next) prefetch_far(next_b + k * next_step);
    multiply_group<M, T>(g, true, a, b, acc);
  }
  if (k < depth) multiply_group<M, T>(g, false, a, b, acc);
}

// T panels side by side: one row alone keeps the pipeline full by working on several.
//
// Depth is cut where the columns of A lie in panels. Its rows in the next panel are asked for, since no hardware looks there.
template <int M, int T, bool has_next, typename Left, typename Right>
RECURLM_INLINE void multiply(const GemmOf<Left, Right>& g, const Left* a, const Right* b, const Right* next_b, index next_step,
                             vec (&acc)[T][M][tile_vectors]) {
  if (sizeof(Left) == sizeof(bfloat16) || g.a_panel == panel_width)
    return multiply_run<M, T, has_next>(g, g.depth, a, b, next_b, next_step, acc);
  for (index k = 0; k < g.depth; k += panel_width, a += g.a_panel) {
    for (int m = 0; m < M; ++m) {
      prefetch(a + g.a_panel + m * g.a_row);
      prefetch(a + g.a_panel + m * g.a_row + half_width);
    }
    const index depth = g.depth - k < panel_width ? g.depth - k : panel_width, at = k * panel_width;
    multiply_run<M, T, has_next>(g, depth, a, b + at, has_next ? next_b + k * next_step : nullptr, next_step, acc);
  }
}

template <int M, int T, typename Left, typename Right>
__attribute__((noinline)) void gemm_tile(const GemmOf<Left, Right>& g, const Left* a, index row, index panel, int first_column,
                                         const Right* next_b, index next_step) {
  TileColumns to[T];
  for (int t = 0; t < T; ++t) to[t] = tile_columns_at(g.columns + 2 * (panel + t), first_column);
  float* c = g.c + row * g.c_row;
  vec acc[T][M][tile_vectors];
  const auto each = [&](auto&& initial) __attribute__((always_inline)) {
    for (int t = 0; t < T; ++t)
      for (int m = 0; m < M; ++m)
        for (int v = 0; v < tile_vectors; ++v) acc[t][m][v] = initial(t, m, v);
  };
  if (g.init == Init::accumulate)
    each([&](int t, int m, int v) { return load_n(c + m * g.c_row + to[t].offset[v], to[t].width[v]); });
  else if (g.init == Init::bias)
    each([&](int t, int, int v) { return load(g.bias + (panel + t) * panel_width + first_column + v * lanes); });
  else
    each([](int, int, int) { return set1(0.0f); });
  const Right* b = g.b + panel * g.b_panel + first_column * row_group<Right>;
  if (T == 1 && next_b)
    multiply<M, T, T == 1>(g, a, b, next_b, next_step, acc);
  else
    multiply<M, T, false>(g, a, b, next_b, 0, acc);
  for (int t = 0; t < T; ++t)
    for (int m = 0; m < M; ++m)
      for (int v = 0; v < tile_vectors; ++v)
        store_n(c + m * g.c_row + to[t].offset[v], acc[t][m][v], to[t].width[v]);
}

template <typename Left, typename Right>
using GemmTile = void (*)(const GemmOf<Left, Right>&, const Left* a, index row, index panel, int first_column,
                          const Right* next_b, index next_step);

template <typename Left, typename Right, int T, int... M>
struct Tiles {
  static constexpr GemmTile<Left, Right> by_rows[] = {nullptr, gemm_tile<M, T, Left, Right>...};
};

// Several panels at once where their sums fit into the registers.
#if defined(RECURLM_KERNEL_avx512)
template <typename Left, typename Right>
using OnePanel = Tiles<Left, Right, 1, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13>;
constexpr int wide_panels = 4, wide_max_rows = 2;
template <typename Left, typename Right>
using Wide = Tiles<Left, Right, wide_panels, 1, 2>;
#elif defined(RECURLM_KERNEL_avx2)
template <typename Left, typename Right>
using OnePanel = Tiles<Left, Right, 1, 1, 2, 3>;
constexpr int wide_panels = 2, wide_max_rows = 1;
template <typename Left, typename Right>
using Wide = Tiles<Left, Right, wide_panels, 1>;
#else
template <typename Left, typename Right>
using OnePanel = Tiles<Left, Right, 1, 1, 2, 3, 4, 5, 6>;
constexpr int wide_panels = 2, wide_max_rows = 2;
template <typename Left, typename Right>
using Wide = Tiles<Left, Right, wide_panels, 1, 2>;
#endif

// C is read where its sums go on and written in any case: asking for a tile's lines while the one before it is computed hides
// their way from memory, a tenth of a product whose depth is some hundreds.
template <typename Left, typename Right>
RECURLM_INLINE void prefetch_tile(const GemmOf<Left, Right>& g, index row, index rows, index panel) {
  for (index m = row; m < row + rows; ++m)
    for (int half = 0; half < 2; ++half) prefetch(g.c + m * g.c_row + g.columns[2 * panel + half].offset);
}

// The rows of C are cut into even tiles: 20 rows are 10 + 10, not 13 + 7. The next panel of B is asked for by up to eight of
// them, each its part: one alone would ask for more than the third-level cache can give in its time (4 % of an LSTM on 20 rows).
// A single tile asks for half of the panel, and what it reads leads the hardware to the rest.
template <typename Left, typename Right>
void gemm_panel(const GemmOf<Left, Right>& g, index panel) {
  const Right* next_panel = panel + 1 < g.panels ? g.b + (panel + 1) * g.b_panel : nullptr;
  const index tiles = (g.rows + gemm_max_rows - 1) / gemm_max_rows;
  const index parts = tiles >= 8 ? 8 : tiles >= 4 ? 4 : 2, next_step = panel_width / parts;
  const auto begin = [&](index tile) { return g.rows * tile / tiles; };
  for (index i = 0; i < tiles; ++i) {
    const index row = begin(i), end = begin(i + 1);
    if (i + 1 < tiles)
      prefetch_tile(g, end, begin(i + 2) - end, panel);
    else if (next_panel)
      prefetch_tile(g, 0, begin(1), panel + 1);
    const Right* next_b = next_panel && i < parts ? next_panel + i * g.depth * next_step : nullptr;
    for (int column = 0; column < panel_width; column += tile_columns)
      OnePanel<Left, Right>::by_rows[end - row](g, g.a + row * g.a_row, row, panel, column, column == 0 ? next_b : nullptr,
                                                next_step);
  }
}

template <typename Left, typename Right>
void gemm(const GemmOf<Left, Right>& g) {
  index panel = 0;
  if (g.rows > 0 && g.rows <= wide_max_rows)
    for (; panel + wide_panels <= g.panels; panel += wide_panels)
      for (int column = 0; column < panel_width; column += tile_columns)
        Wide<Left, Right>::by_rows[g.rows](g, g.a, 0, panel, column, nullptr, 0);
  for (; panel < g.panels; ++panel) gemm_panel(g, panel);
}

}  // namespace
}  // namespace recurlm::kernels::RECURLM_KERNEL_ISA
