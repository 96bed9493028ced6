// Matrix products on packed operands, shared among the threads of a team.
#pragma once

#include "base/views.h"
#include "base/workspace.h"
#include "cpu/threads.h"
#include "kernels/table.h"

namespace recurlm {

using kernels::Column;
using kernels::Init;

// The left operand, (rows, depth).
struct Operand {
  const float* data;
  index rows, depth;
  index row, col, panel;  // strides as in kernels::Gemm
  index row_panel;        // stride from 32 rows to the next 32 where rows are cut into panels, else 0

  static Operand row_major(ConstMatrixView a);
  static Operand packed(const Panels& a, index depth);
  // The transpose of a packed (depth, rows).
  static Operand packed_transposed(const Panels& a, index rows);

  Operand slice_rows(index first, index count) const;
};

// Where the product goes: rows `row` apart, columns by half panel.
struct Target {
  float* data;
  index row;
  const Column* columns;
};

struct Product {
  Operand a;
  Panels b;
  Target c;
  Init init = Init::zero;
  const float* bias = nullptr;
};

// This thread's share of C = init + A B. Whoever reads C waits at a barrier first.
void multiply(const Team& team, const Product& product);

struct Rectangle {
  index row, rows, panel, panels;
};

// One rectangle of a product, on the calling thread.
void multiply_rectangle(const Product& product, const Rectangle& at);

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

// Column maps. Natural: n stays where it is. Packed: columns of a packed matrix.
const Column* natural_columns(Workspace::Frame& frame, index cols);
const Column* packed_columns(Workspace::Frame& frame, const Panels& c);

// Packing, shared among the team: columns of `packed` from the columns of `matrix` (rows, N) that the map names; the rest is 0.
void pack(const Team& team, ConstMatrixView matrix, const Column* columns, const Panels& packed);
// The transpose: rows of `packed` from the columns of `matrix`, its columns from the rows.
void pack_transposed(const Team& team, ConstMatrixView matrix, const Column* columns, const Panels& packed);
// A bias in packed order; null gives zeros. Columns that do not exist get `padding`.
void pack_bias(const Team& team, const float* bias, const Column* columns, index panels, float padding, float* packed);

// out (+)= sums over the rows of `packed`, in blocks of rows fixed by shape, added in order.
void column_sums(const Team& team, const Panels& packed, const Column* columns, bool accumulate, float* out);

// sums[to[r]] = the sum of those rows, in ascending r.
void sum_rows(const Team& team, const Panels& packed, const std::int32_t* to, const Panels& sums);

inline Init gradient_init(bool accumulate) { return accumulate ? Init::accumulate : Init::zero; }
inline index panels_of(index cols) { return ceil_div(cols, panel_width); }

}  // namespace recurlm
