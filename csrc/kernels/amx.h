// Products of bfloat16 and of int8 by the tiles of AMX: 16 x 16 sums += 16 rows of A times 16 groups of the rows of B that lie
// together in a panel. A panel is two tiles wide, and two tiles of rows meet it at once.
//
// For each line of a tile that is not aligned two are read, which halves the speed: operands begin at a multiple of 64 bytes.
#pragma once

#include "kernels/gemm_int8.h"

namespace recurlm::kernels::RECURLM_KERNEL_ISA {
namespace {

constexpr index tile_rows = 16, tile_bytes = 64, tile_groups = 16, group_bytes = 4;
constexpr index panel_bytes = panel_width * group_bytes;  // of one group of rows

// The tiles: sums of upper and lower rows for the two halves of a panel, rows of A, halves of B.
enum : int { upper_left, upper_right, lower_left, lower_right, upper_a, lower_a, left_b, right_b, tiles };

// Assembly, since the intrinsics of GCC 12 do not say that they read memory.
template <int tile>
RECURLM_INLINE void load_tile(const void* p, index stride) {
  __asm__ volatile("tileloadd (%0,%1,1), %%tmm%c2" : : "r"(p), "r"(stride), "i"(tile) : "memory");
}
template <int tile>
RECURLM_INLINE void store_tile(void* p, index stride) {
  __asm__ volatile("tilestored %%tmm%c2, (%0,%1,1)" : : "r"(p), "r"(stride), "i"(tile) : "memory");
}
template <int tile>
RECURLM_INLINE void zero_tile() {
  __asm__ volatile("tilezero %%tmm%c0" : : "i"(tile));
}
// What is added is the sum of two, over the even and over the odd rows of B. Subnormal numbers count as zero.
template <int sums, int a, int b>
RECURLM_INLINE void multiply_add_tile(bfloat16) {
  __asm__ volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(sums), "i"(a), "i"(b));
}
template <int sums, int a, int b>
RECURLM_INLINE void multiply_add_tile(std::int8_t) {
  __asm__ volatile("tdpbusd %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(sums), "i"(a), "i"(b));
}

// How many rows of the tiles are real. To change it costs some hundred cycles, and what the tiles hold.
class TileShape {
 public:
  TileShape() = default;
  TileShape(const TileShape&) = delete;
  TileShape& operator=(const TileShape&) = delete;
  ~TileShape() { __asm__ volatile("tilerelease"); }  // or every change of context would save eight kilobytes

  void set(index upper, index lower) {
    if (upper == upper_ && lower == lower_) return;
    upper_ = upper;
    lower_ = lower;
    struct {
      std::uint8_t palette = 1, start_row = 0, reserved[14] = {};
      std::uint16_t row_bytes[16] = {};
      std::uint8_t rows[16] = {};
    } config;
    for (int tile = 0; tile < tiles; ++tile) {
      const bool below = tile == lower_left || tile == lower_right || tile == lower_a;
      const index rows = tile >= left_b ? tile_groups : below ? lower : upper;
      config.rows[tile] = static_cast<std::uint8_t>(rows);
      config.row_bytes[tile] = static_cast<std::uint16_t>(rows > 0 ? tile_bytes : 0);
    }
    __asm__ volatile("ldtilecfg %0" : : "m"(config));
  }

 private:
  index upper_ = 0, lower_ = 0;
};

// Up to 32 rows of A and a panel of B, in bytes.
struct TileOperands {
  index rows;
  const char* a;
  index a_row;
  const char* b;
};

template <typename Element, bool two>
RECURLM_INLINE void multiply_step(const TileOperands& o) {
  load_tile<left_b>(o.b, panel_bytes);
  load_tile<right_b>(o.b + tile_bytes, panel_bytes);
  load_tile<upper_a>(o.a, o.a_row);
  multiply_add_tile<upper_left, upper_a, left_b>(Element());
  multiply_add_tile<upper_right, upper_a, right_b>(Element());
  if constexpr (two) {
    load_tile<lower_a>(o.a + tile_rows * o.a_row, o.a_row);
    multiply_add_tile<lower_left, lower_a, left_b>(Element());
    multiply_add_tile<lower_right, lower_a, right_b>(Element());
  }
}

// As many bytes as so many floats have, and zeros behind them.
RECURLM_INLINE void copy_line(const char* from, index floats, char* to) {
  store(reinterpret_cast<float*>(to), load_n(reinterpret_cast<const float*>(from), floats));
}

// Sums += A B, and after each whole step beside(). Of the last groups, where they fill no tile, copies are multiplied, with zeros
// behind them.
template <typename Element, bool two, typename Beside>
RECURLM_INLINE void multiply_tiles(TileOperands o, index groups, Beside&& beside) {
  for (; groups >= tile_groups; groups -= tile_groups, o.a += tile_bytes, o.b += tile_groups * panel_bytes) {
    multiply_step<Element, two>(o);
    beside();
  }
  if (groups == 0) return;
  alignas(tile_bytes) char a[2 * tile_rows][tile_bytes], b[tile_groups][panel_bytes];
  for (index m = 0; m < o.rows; ++m) copy_line(o.a + m * o.a_row, groups, a[m]);
  for (index g = 0; g < tile_groups; ++g)
    for (index half = 0; half < panel_bytes; half += tile_bytes)
      copy_line(o.b + (g < groups ? g * panel_bytes + half : 0), g < groups ? lanes : 0, b[g] + half);
  multiply_step<Element, two>({o.rows, a[0], tile_bytes, b[0]});
}

template <int number_>
struct Tile {
  static constexpr int number = number_;
};

// visit(tile, row, rows, half) for the sums of some rows and a panel; halves are counted through all panels.
template <bool two, typename Visit>
RECURLM_INLINE void for_sums(index row, index upper, index lower, index panel, Visit&& visit) {
  visit(Tile<upper_left>(), row, upper, 2 * panel);
  visit(Tile<upper_right>(), row, upper, 2 * panel + 1);
  if constexpr (two) {
    visit(Tile<lower_left>(), row + upper, lower, 2 * panel);
    visit(Tile<lower_right>(), row + upper, lower, 2 * panel + 1);
  }
}

// begin fills a tile with its first sums, end takes its last.
template <typename Element, bool two, typename Product, typename Begin, typename Beside, typename End>
void multiply_tile_rows(const Product& g, TileShape& shape, index groups, index row, index rows, index panel, Begin&& begin,
                        Beside&& beside, End&& end) {
  const index upper = rows < tile_rows ? rows : tile_rows, lower = rows - upper;
  shape.set(upper, lower);
  for_sums<two>(row, upper, lower, panel, begin);
  const Element *a = g.a + row * g.a_row, *b = g.b + panel * g.b_panel;
  multiply_tiles<Element, two>({rows, reinterpret_cast<const char*>(a), g.a_row * static_cast<index>(sizeof(Element)),
                                reinterpret_cast<const char*>(b)},
                               groups, beside);
  for_sums<two>(row, upper, lower, panel, end);
}

// Where 16 rows are all, a second panel could take the place of lower rows; it gains a tenth on some depths and loses it on others.
template <typename Element, typename Product, typename Begin, typename Beside, typename End>
RECURLM_INLINE void multiply_by_tiles(const Product& g, index groups, Begin&& begin, Beside&& beside, End&& end) {
  TileShape shape;
  for (index panel = 0; panel < g.panels; ++panel)
    for (index row = 0; row < g.rows; row += 2 * tile_rows) {
      const index rows = g.rows - row < 2 * tile_rows ? g.rows - row : 2 * tile_rows;
      if (rows > tile_rows)
        multiply_tile_rows<Element, true>(g, shape, groups, row, rows, panel, begin, beside, end);
      else
        multiply_tile_rows<Element, false>(g, shape, groups, row, rows, panel, begin, beside, end);
    }
}

void gemm_bfloat16_by_tiles(const GemmBfloat16& g) {
  alignas(tile_bytes) float room[tile_rows][half_width];  // for half a panel that is not whole
  const index c_row_bytes = g.c_row * static_cast<index>(sizeof(float));
  const auto begin = [&](auto tile, index row, index rows, index half) {
    constexpr int sums = decltype(tile)::number;
    const Column to = g.columns[half];
    const float* c = g.c + row * g.c_row + to.offset;
    if (g.init == Init::zero) return zero_tile<sums>();
    if (g.init == Init::bias) return load_tile<sums>(g.bias + half * half_width, 0);
    if (to.width == half_width) return load_tile<sums>(c, c_row_bytes);
    for (index m = 0; m < rows; ++m) store(room[m], load_n(c + m * g.c_row, to.width));
    load_tile<sums>(room, tile_bytes);
  };
  const auto end = [&](auto tile, index row, index rows, index half) {
    constexpr int sums = decltype(tile)::number;
    const Column to = g.columns[half];
    float* c = g.c + row * g.c_row + to.offset;
    if (to.width == half_width) return store_tile<sums>(c, c_row_bytes);
    store_tile<sums>(room, tile_bytes);
    for (index m = 0; m < rows; ++m) store_n(c + m * g.c_row, load(room[m]), to.width);
  };
  multiply_by_tiles<bfloat16>(g, (g.depth + 1) / 2, begin, [] {}, end);
}

// Sums of integers that left the tiles, half a panel of up to 32 rows beside the other, and go to C a few rows at a time while the
// tiles multiply the next panel.
class LeavingSums {
 public:
  explicit LeavingSums(const GemmInt8& g) : g_(g) {}

  template <int tile>
  RECURLM_INLINE void take(index row, index rows, index half) {
    if constexpr (tile == upper_left) begin(row, half);
    end_ = row + rows;
    store_tile<tile>(room_[row - begin_] + half % 2 * half_width, panel_width * static_cast<index>(sizeof(std::int32_t)));
  }
  RECURLM_INLINE void store_some(index count) {
    const index row = next_, rows = end_ - row < count ? end_ - row : count;
    if (rows <= 0) return;
    next_ += rows;
    for (int h = 0; h < 2; ++h) {
      const Half half = halves_[h];
      const std::int32_t* from = room_[row - begin_] + h * half_width;
      float* c = half.c + row * g_.c_row;
      for (index m = 0; m < rows; ++m, from += panel_width, c += g_.c_row)
        half.scaling.store(g_, row + m, _mm512_add_epi32(half.first, load_ints(from)), c);
    }
  }
  RECURLM_INLINE void store_rest() { store_some(end_ - next_); }

 private:
  struct Half {
    Scaling scaling;
    ints first;
    float* c;  // of row 0
  };

  RECURLM_INLINE void begin(index row, index half) {
    begin_ = next_ = row;
    for (index h = 0; h < 2; ++h) {
      const Column to = g_.columns[half + h];
      const index column = (half + h) * half_width;
      halves_[h] = {Scaling(g_, column, to.width), first_sums(g_.b_sums + column), g_.c + to.offset};
    }
  }

  const GemmInt8& g_;
  index begin_ = 0, next_ = 0, end_ = 0;  // rows: the first, the next to leave, behind the last
  Half halves_[2];
  alignas(tile_bytes) std::int32_t room_[2 * tile_rows][panel_width];
};

// Sums of integers are exact, so one row may go through the vectors, which take no longer than reading B.
void gemm_int8_by_tiles(const GemmInt8& g) {
  if (g.rows == 1) return gemm_int8(g);
  const index groups = (g.depth + 3) / 4, steps = groups / tile_groups;
  const index rows_beside = steps > 0 ? (2 * tile_rows + steps - 1) / steps : 0;
  LeavingSums sums(g);
  const auto begin = [](auto tile, index, index, index) { zero_tile<decltype(tile)::number>(); };
  const auto end = [&](auto tile, index row, index rows, index half) {
    constexpr int number = decltype(tile)::number;
    if constexpr (number == upper_left) sums.store_rest();
    sums.take<number>(row, rows, half);
  };
  multiply_by_tiles<std::int8_t>(g, groups, begin, [&] { sums.store_some(rows_beside); }, end);
  sums.store_rest();
}

}  // namespace
}  // namespace recurlm::kernels::RECURLM_KERNEL_ISA
