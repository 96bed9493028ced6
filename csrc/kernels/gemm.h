// The matrix product on packed panels: a tile of rows x columns of C in registers, rows of A broadcast.
#pragma once

#include "kernels/vec.h"

namespace recurlm::kernels::RECURLM_KERNEL_ISA {
namespace {

// Registers: AVX-512 has 32, so 13 rows x 2 vectors of sums, two of B, one broadcast. The others have 16: 6 x 2 + 3.
constexpr int gemm_max_rows = lanes == 16 ? 13 : 6;
constexpr int tile_vectors = 2;
constexpr int tile_columns = tile_vectors * lanes;

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

// T panels side by side: one row alone keeps the pipeline full by working on several.
template <int M, int T>
RECURLM_INLINE void multiply(const Gemm& g, const float* a, const float* b, vec (&acc)[T][M][tile_vectors]) {
  for (index k0 = 0; k0 < g.depth; k0 += panel_width, a += g.a_panel) {
    const index depth = g.depth - k0 < panel_width ? g.depth - k0 : panel_width;
    const float* ak = a;
    for (index k = 0; k < depth; ++k, ak += g.a_col, b += panel_width) {
      vec bv[T][tile_vectors];
      for (int t = 0; t < T; ++t)
        for (int v = 0; v < tile_vectors; ++v) bv[t][v] = load(b + t * g.b_panel + v * lanes);
      for (int m = 0; m < M; ++m) {
        const vec am = set1(ak[m * g.a_row]);
        for (int t = 0; t < T; ++t)
          for (int v = 0; v < tile_vectors; ++v) acc[t][m][v] = fmadd(am, bv[t][v], acc[t][m][v]);
      }
    }
  }
}

template <int M, int T>
__attribute__((noinline)) void gemm_tile(const Gemm& g, index row, index panel, int first_column) {
  TileColumns to[T];
  for (int t = 0; t < T; ++t) to[t] = tile_columns_at(g.columns + 2 * (panel + t), first_column);
  float* c = g.c + row * g.c_row;
  vec acc[T][M][tile_vectors];
  for (int t = 0; t < T; ++t)
    for (int m = 0; m < M; ++m)
      for (int v = 0; v < tile_vectors; ++v) {
        if (g.init == Init::accumulate)
          acc[t][m][v] = load_n(c + m * g.c_row + to[t].offset[v], to[t].width[v]);
        else if (g.init == Init::bias)
          acc[t][m][v] = load(g.bias + (panel + t) * panel_width + first_column + v * lanes);
        else
          acc[t][m][v] = set1(0.0f);
      }
  multiply<M, T>(g, g.a + row * g.a_row, g.b + panel * g.b_panel + first_column, acc);
  for (int t = 0; t < T; ++t)
    for (int m = 0; m < M; ++m)
      for (int v = 0; v < tile_vectors; ++v)
        store_n(c + m * g.c_row + to[t].offset[v], acc[t][m][v], to[t].width[v]);
}

using GemmTile = void (*)(const Gemm&, index row, index panel, int first_column);

template <int T, int... M>
struct Tiles {
  static constexpr GemmTile by_rows[] = {nullptr, gemm_tile<M, T>...};
};

#if defined(RECURLM_KERNEL_avx512)
constexpr const GemmTile* one_panel = Tiles<1, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13>::by_rows;
#else
constexpr const GemmTile* one_panel = Tiles<1, 1, 2, 3, 4, 5, 6>::by_rows;
#endif
// Two rows are the most that leave registers for the sums of several panels at once.
constexpr int wide_panels = lanes == 16 ? 4 : 2;
constexpr int wide_max_rows = 2;
constexpr const GemmTile* wide = Tiles<wide_panels, 1, 2>::by_rows;

void gemm_rows(const Gemm& g, index row, int rows) {
  index panel = 0;
  if (rows <= wide_max_rows)
    for (; panel + wide_panels <= g.panels; panel += wide_panels)
      for (int column = 0; column < panel_width; column += tile_columns) wide[rows](g, row, panel, column);
  for (; panel < g.panels; ++panel)
    for (int column = 0; column < panel_width; column += tile_columns) one_panel[rows](g, row, panel, column);
}

void gemm(const Gemm& g) {
  const index tiles = (g.rows + gemm_max_rows - 1) / gemm_max_rows;
  for (index i = 0; i < tiles; ++i) {
    // Even tiles: 20 rows are 10 + 10, not 13 + 7.
    const index begin = g.rows * i / tiles, end = g.rows * (i + 1) / tiles;
    gemm_rows(g, begin, static_cast<int>(end - begin));
  }
}

}  // namespace
}  // namespace recurlm::kernels::RECURLM_KERNEL_ISA
