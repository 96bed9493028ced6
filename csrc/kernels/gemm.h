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

// A line into the first-level cache, or no further than the second.
RECURLM_INLINE void prefetch(const float* line) { _mm_prefetch(reinterpret_cast<const char*>(line), _MM_HINT_T0); }
RECURLM_INLINE void prefetch_far(const float* line) { _mm_prefetch(reinterpret_cast<const char*>(line), _MM_HINT_T1); }
constexpr index line = 16;

// T panels side by side: one row alone keeps the pipeline full by working on several.
//
// Two streams are asked for ahead of their use, worth 3 to 8 points of the peak together: a panel of B that the tile does not
// read (`next_b`), and of A the next 32 columns, which in a packed matrix lie a panel away, where no hardware looks.
template <int M, int T>
RECURLM_INLINE void multiply(const Gemm& g, const float* a, const float* b, const float* next_b,
                             vec (&acc)[T][M][tile_vectors]) {
  for (index k0 = 0; k0 < g.depth; k0 += panel_width, a += g.a_panel) {
    const index depth = g.depth - k0 < panel_width ? g.depth - k0 : panel_width;
    const float* ak = a;
    for (index k = 0; k < depth; ++k, ak += g.a_col, b += panel_width, next_b += panel_width) {
      prefetch_far(next_b);
      prefetch_far(next_b + line);
      prefetch(a + g.a_panel + k * line);
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
__attribute__((noinline)) void gemm_tile(const Gemm& g, const float* a, index row, index panel, int first_column,
                                         const float* next_b) {
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
  multiply<M, T>(g, a, g.b + panel * g.b_panel + first_column, next_b, acc);
  for (int t = 0; t < T; ++t)
    for (int m = 0; m < M; ++m)
      for (int v = 0; v < tile_vectors; ++v)
        store_n(c + m * g.c_row + to[t].offset[v], acc[t][m][v], to[t].width[v]);
}

using GemmTile = void (*)(const Gemm&, const float* a, index row, index panel, int first_column, const float* next_b);

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

// The rows of C cut into even tiles: 20 rows are 10 + 10, not 13 + 7. Where A's rows lie in panels, each of these is cut.
struct RowTiles {
  explicit RowTiles(const Gemm& g)
      : g(g),
        block(g.a_row_panel ? panel_width : g.rows),
        tiles_per_block((block + gemm_max_rows - 1) / gemm_max_rows),
        count(block ? (g.rows + block - 1) / block * tiles_per_block : 0) {}

  index begin(index tile) const {
    const index first = tile / tiles_per_block * block;
    const index rows = g.rows - first < block ? g.rows - first : block;
    return first + rows * (tile % tiles_per_block) / tiles_per_block;
  }
  index rows(index tile) const { return (tile + 1 < count ? begin(tile + 1) : g.rows) - begin(tile); }
  const float* a(index tile) const {
    const index row = begin(tile);
    return g.a_row_panel ? g.a + row / panel_width * g.a_row_panel + row % panel_width * g.a_row : g.a + row * g.a_row;
  }

  const Gemm& g;
  const index block, tiles_per_block, count;
};

// C is read where its sums go on and written in any case: asking for a tile's lines while the one before it is computed hides
// their way from memory, a tenth of a product whose depth is some hundreds.
RECURLM_INLINE void prefetch_tile(const Gemm& g, index row, index rows, index panel) {
  for (index m = row; m < row + rows; ++m)
    for (int half = 0; half < 2; ++half) prefetch(g.c + m * g.c_row + g.columns[2 * panel + half].offset);
}

void gemm_panel(const RowTiles& tiles, index panel) {
  const Gemm& g = tiles.g;
  const float *b = g.b + panel * g.b_panel, *next_b = panel + 1 < g.panels ? b + g.b_panel : b;
  for (index i = 0; i < tiles.count; ++i) {
    const index row = tiles.begin(i), rows = tiles.rows(i);
    if (i + 1 < tiles.count)
      prefetch_tile(g, tiles.begin(i + 1), tiles.rows(i + 1), panel);
    else if (panel + 1 < g.panels)
      prefetch_tile(g, 0, tiles.rows(0), panel + 1);
    for (int column = 0; column < panel_width && rows > 0; column += tile_columns)
      one_panel[rows](g, tiles.a(i), row, panel, column, i == 0 ? next_b : b);
  }
}

void gemm(const Gemm& g) {
  index panel = 0;
  if (g.rows > 0 && g.rows <= wide_max_rows)
    for (; panel + wide_panels <= g.panels; panel += wide_panels)
      for (int column = 0; column < panel_width; column += tile_columns) wide[g.rows](g, g.a, 0, panel, column, g.b);
  const RowTiles tiles(g);
  for (; panel < g.panels; ++panel) gemm_panel(tiles, panel);
}

}  // namespace
}  // namespace recurlm::kernels::RECURLM_KERNEL_ISA
