// Matrices in the layout that products read: panels of 32 columns.
#pragma once

#include "base/views.h"
#include "base/workspace.h"
#include "cpu/threads.h"
#include "kernels/table.h"

namespace recurlm {

using kernels::Column;

inline index panels_of(index cols) { return ceil_div(cols, panel_width); }

// Column maps. Natural: n stays where it is. Packed: columns of a packed matrix.
const Column* natural_columns(Workspace::Frame& frame, index cols);
const Column* packed_columns(Workspace::Frame& frame, const Panels& c);

// A matrix as the right operand B of a product: its columns become B's in the order of the map, half panel by half panel, or,
// transposed, its rows become B's columns and its columns, in that order, B's rows. What does not exist is 0.
struct Packable {
  ConstMatrixView matrix;
  const Column* columns;
  bool transposed;
  index depth, panels;  // of B; its depth where transposed is in whole half panels

  static Packable columns_of(ConstMatrixView matrix, const Column* columns, index panels) {
    return {matrix, columns, false, matrix.rows, panels};
  }
  static Packable rows_of(ConstMatrixView matrix, const Column* columns, index half_panels) {
    return {matrix, columns, true, half_panels * half_width, panels_of(matrix.rows)};
  }

  // Rows [first, first + count) of one panel of B; first is a multiple of 16, and `to` has room for as many rows in whole 16s.
  void pack_panel(index panel, index first, index count, float* to) const;
};

// The whole of B, shared among the team.
void pack(const Team& team, const Packable& source, const Panels& packed);

// The transpose (rows, depth) of a matrix (depth, rows), as the left operand of a weight gradient: a tile of such a product reads
// a few rows along, where in the matrix itself it would read a few floats of every line.
struct Transposed {
  float* data = nullptr;
  index rows = 0, depth = 0, stride = 0;

  Transposed first(index depth) const { return {data, rows, depth, stride}; }
};

Transposed take_transposed(Workspace::Frame& frame, index rows, index depth);
void transpose(const Team& team, ConstMatrixView from, const Transposed& to);
void transpose(const Team& team, const Panels& from, const Transposed& to);

// A bias in packed order; null gives zeros. Columns that do not exist get `padding`.
void pack_bias(const Team& team, const float* bias, const Column* columns, index panels, float padding, float* packed);

}  // namespace recurlm
