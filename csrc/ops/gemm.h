// Matrix products on packed operands, shared among the threads of a team.
#pragma once

#include "ops/weights.h"

namespace recurlm {

using kernels::Init;

// The left operand, (rows, depth).
struct Operand {
  const float* data;
  index rows, depth;
  index row, panel;  // strides as in kernels::Gemm

  static Operand row_major(ConstMatrixView a) { return {a.data, a.rows, a.cols, a.cols, panel_width}; }
  static Operand packed(const Panels& a, index depth) { return {a.data, a.rows, depth, panel_width, a.stride}; }
  static Operand transposed(const Transposed& a) { return {a.data, a.rows, a.depth, a.stride, panel_width}; }
};

// Where the product goes: rows `row` apart, columns by half panel.
struct Target {
  float* data;
  index row;
  const Column* columns;
};

// Rows of the left operand in int8: room for a few of them for each thread.
struct QuantizedRows {
  std::int8_t* data = nullptr;
  float* scales = nullptr;
  index row = 0;  // from one row to the next

  QuantizedRows of_thread(int id) const;
};

// The right operand, (depth, 32 * panels): packed, or to be packed panel by panel by whoever multiplies it. Where one block of
// rows meets it, no packed copy is needed: a panel stays in the second-level cache between its packing and its last use.
struct RightOperand {
  RightOperand() = default;
  RightOperand(const Panels& packed) : packed(PackedWeights::of(packed)) {}
  // For one product of `rows` rows, or several, by a team of at most `threads`.
  RightOperand(Workspace::Frame& frame, const Packable& source, index rows, int threads);
  // Weights of any precision, whose left operand is row-major.
  RightOperand(Workspace::Frame& frame, const PackedWeights& weights, int threads);

  index panels() const { return room ? source.panels : packed.panels; }
  index room_stride() const;  // floats, from one thread's room to the next
  void prepare(const Team& team) const;  // a barrier comes before the product

  PackedWeights packed{};
  Packable source{};
  float* room = nullptr;    // a block of a panel for each thread; null where B is packed
  QuantizedRows quantized;  // for int8
};

struct Product {
  Operand a;
  RightOperand b;
  Target c;
  Init init = Init::zero;
  const float* bias = nullptr;
};

// This thread's share of C = init + A B. Whoever reads C waits at a barrier first.
void multiply(const Team& team, const Product& product);

struct Rectangle {
  index row, rows, panel, panels;
};

// One rectangle of a product whose B is packed, on the calling thread.
void multiply_rectangle(const Team& team, const Product& product, const Rectangle& at);

// One thread's share of a grid of (panels, granules of rows) in panel-major order, as at most three kinds of rectangle: the end
// of a panel, whole panels, the beginning of one. visit(panel, panels, row, rows).
template <typename Visit>
void for_share(const Team& team, index panels, index rows, index granule, Visit&& visit) {
  const index tiles = ceil_div(rows, granule);
  const Range share = team.share(panels * tiles);
  for (index i = share.begin; i < share.end;) {
    const index panel = i / tiles, tile = i % tiles, whole = tile == 0 ? (share.end - i) / tiles : 0;
    const index end = tiles < tile + share.end - i ? tiles : tile + share.end - i;
    const index row = tile * granule, last_row = rows < end * granule ? rows : end * granule;
    visit(panel, whole > 0 ? whole : 1, row, last_row - row);
    i += whole > 0 ? whole * tiles : end - tile;
  }
}

// out (+)= sums over the rows of `packed`, in blocks of rows fixed by shape, added in order.
void column_sums(const Team& team, const Panels& packed, const Column* columns, bool accumulate, float* out);

// sums[to[r]] = the sum of those rows, in ascending r.
void sum_rows(const Team& team, const Panels& packed, const std::int32_t* to, const Panels& sums);

inline Init gradient_init(bool accumulate) { return accumulate ? Init::accumulate : Init::zero; }

}  // namespace recurlm
