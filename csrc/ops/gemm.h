// Matrix products on packed operands, shared among the threads of a team.
#pragma once

#include "ops/weights.h"

namespace recurlm {

using kernels::Init;

// Rows of a left operand in int8, each with its scale.
struct QuantizedRows {
  std::int8_t* data = nullptr;
  float* scales = nullptr;
  index row = 0;  // from one row to the next

  static QuantizedRows take(Workspace::Frame& frame, index rows, index depth);
  QuantizedRows at(index r) const { return data ? QuantizedRows{data + r * row, scales + r, row} : QuantizedRows(); }
};

// The left operand, (rows, depth): float32, or rounded to bfloat16 row by row with whole pairs.
struct Operand {
  const float* data;  // null where it is rounded
  index rows, depth;
  index row, panel;  // strides as in kernels::GemmOf
  const bfloat16* rounded = nullptr;
  // Where the rows are columns of panels, `panel` apart: room in which each thread turns a panel of them.
  Transposed turned{};
  // The rows once more, where they are quantised already: whoever multiplies them by int8 takes these.
  QuantizedRows quantized{};

  static Operand row_major(ConstMatrixView a, const QuantizedRows& quantized = {}) {
    return {a.data, a.rows, a.cols, a.cols, panel_width, nullptr, {}, quantized};
  }
  static Operand packed(const Panels& a, index depth) { return {a.data, a.rows, depth, panel_width, a.stride}; }
  static Operand transposed(const Transposed& a);
  static Operand columns_of(const Panels& a, index cols, const Transposed& room) {
    return {a.data, cols, a.rows, 0, a.stride, nullptr, room};
  }
};

// Where the product goes: rows `row` apart, columns by half panel.
struct Target {
  float* data;
  index row;
  const Column* columns;
};

// In bfloat16: room for a block of rows and of their depth.
struct RoundedRows {
  bfloat16* data = nullptr;
  index rows = 0, row = 0;

  bfloat16* of_thread(int id) const { return data + id * rows * row; }
};

// The right operand, (depth, 32 * panels): packed, or to be packed panel by panel by whoever multiplies it. Where one block of
// rows meets it, no packed copy is needed: a panel stays in the second-level cache between its packing and its last use.
//
// `rows` is the most that a product has, `threads` the most that a team has.
struct RightOperand {
  RightOperand() = default;
  explicit RightOperand(const PackedWeights& packed) : packed(packed) {}
  // Packed as these rows make it worth while; a left operand in float32 is rounded as `precision` asks.
  RightOperand(Workspace::Frame& frame, const Packable& source, Precision precision, index rows, int threads);
  // Packed in any case, for a product that is formed many times.
  static RightOperand packed_whole(Workspace::Frame& frame, const Packable& source, Precision precision, index rows, int threads);
  // A matrix that is packed in float32, with its map. The left operand is of this precision.
  static RightOperand of_panels(Workspace::Frame& frame, const Panels& packed, const Column* columns, Precision precision,
                                int threads);
  // Weights for running, in any precision. The left operand is float32 and row-major.
  RightOperand(Workspace::Frame& frame, const PackedWeights& weights, int threads);

  Precision precision() const { return room.data ? room.precision : packed.precision; }
  index panels() const { return room.data ? source.panels : packed.panels; }
  void prepare(const Team& team) const;  // a barrier comes before the product

  PackedWeights packed{};
  Packable source{};
  PackedWeights room{};     // a block of a panel for each thread; none where B is packed
  QuantizedRows quantized_room;  // for int8: a few rows for each thread
  RoundedRows rounded;      // for bfloat16 in training

 private:
  void take_rounded(Workspace::Frame& frame, index rows, int threads);
};

// What the rows of a product by int8 are added to: each to one of the rows of packed panels.
struct InitialRows {
  Panels panels{};
  const std::int32_t* rows = nullptr;

  InitialRows at(index row) const { return rows ? InitialRows{panels, rows + row} : InitialRows(); }
};

struct Product {
  Operand a;
  RightOperand b;
  Target c;
  Init init = Init::zero;
  const float* bias = nullptr;
  InitialRows initial{};
};

// This thread's share of the rows. Whoever multiplies them waits at a barrier first.
void quantize(const Team& team, ConstMatrixView rows, const QuantizedRows& to);

// This thread's share of C = init + A B. Whoever reads C waits at a barrier first.
void multiply(const Team& team, const Product& product);

struct Rectangle {
  index row, rows, panel, panels;
};

// One rectangle of a product whose B is packed, on the calling thread.
void multiply_rectangle(const Team& team, const Product& product, const Rectangle& at);

// The product of some of its rows, which are its first then: rounded once, where they must be, for several rectangles.
Product rows_of(const Team& team, const Product& product, index row, index rows);

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
