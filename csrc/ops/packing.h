// Matrices in the layout that products read: panels of 32 columns.
#pragma once

#include "base/views.h"
#include "base/workspace.h"
#include "cpu/threads.h"
#include "kernels/table.h"

namespace recurlm {

using kernels::bfloat16;
using kernels::Column;

enum class Precision { float32, bfloat16, int8 };

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
  // Of such a matrix that is packed, with its map.
  static Packable of_panels(const Panels& packed, const Column* columns) {
    return columns_of({packed.data, packed.rows, panel_width}, columns, packed.panels);
  }
  static Packable rows_of(ConstMatrixView matrix, const Column* columns, index half_panels) {
    return {matrix, columns, true, half_panels * half_width, panels_of(matrix.rows)};
  }

  // Rows [first, first + count) of one panel of B; first is a multiple of 16, and `to` has room for as many rows in whole 16s.
  void pack_panel(index panel, index first, index count, float* to) const;
  void pack_panel(index panel, index first, index count, bfloat16* to) const;  // by pairs of rows
};

// The whole of B, shared among the team: panels `stride` elements apart.
template <typename T>
void pack(const Team& team, const Packable& source, T* packed, index stride) {
  // Sixteen rows at a time are read along and written to each panel as whole kilobytes: one row at a time would touch a page
  // for every 128 bytes, on the one side or the other.
  const index block = source.transposed && source.depth > 0 ? source.depth : half_width;
  const Range share = team.share(source.panels);
  for (index first = 0; first < source.depth; first += block)
    for (index p = share.begin; p < share.end; ++p)
      source.pack_panel(p, first, source.depth - first < block ? source.depth - first : block,
                        packed + p * stride + first * panel_width);
}
inline void pack(const Team& team, const Packable& source, const Panels& packed) {
  pack(team, source, packed.data, packed.stride);
}

// The transpose (rows, depth) of a matrix (depth, rows), as the left operand of a weight gradient: a tile of such a product reads
// a few rows along, where in the matrix itself it would read a few floats of every line. In float32, or rounded to bfloat16 with
// a zero behind an odd depth.
struct Transposed {
  Precision precision = Precision::float32;
  void* data = nullptr;
  index rows = 0, depth = 0, stride = 0;

  Transposed first(index depth) const { return {precision, data, rows, depth, stride}; }
};

Transposed take_transposed(Workspace::Frame& frame, Precision precision, index rows, index depth);
// Columns [first, first + count) of the transpose from these rows of the matrix, at most 32.
void transpose_columns(const Transposed& to, index first, index count, const float* from, index ld);
void transpose(const Team& team, ConstMatrixView from, const Transposed& to);

// A bias in packed order; null gives zeros. Columns that do not exist get `padding`.
void pack_bias(const Team& team, const float* bias, const Column* columns, index panels, float padding, float* packed);

}  // namespace recurlm
