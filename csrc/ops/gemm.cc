#include "ops/gemm.h"

#include <algorithm>
#include <cstring>

namespace recurlm {

namespace {

// Blocks in which both operands stay in a core's second-level cache: a panel of B (128 KB at most) meets as many rows of A
// (640 KB at most) as fit beside it. The sums pass through memory between blocks of k, so the chain of additions is the same
// without them.
constexpr index depth_block = 1024;
constexpr index block_elements = 160 * depth_block;

// Rows of A to a block: even blocks, in whole granules.
index row_block(const Operand& a, index granule) {
  const index most = std::max(block_elements / std::max(std::min(a.depth, depth_block), index{1}), granule);
  const index blocks = std::max(ceil_div(a.rows, most), index{1});
  return std::max(ceil_div(ceil_div(a.rows, blocks), granule), index{1}) * granule;
}

// Depth [k, k + depth) of a rectangle.
void multiply_block(const Product& p, const Rectangle& at, index k, index depth) {
  const Operand& a = p.a;
  kernels::Gemm g{};
  g.rows = at.rows;
  g.depth = depth;
  g.panels = at.panels;
  g.a = a.slice_rows(at.row, at.rows).data + k / panel_width * a.panel;
  g.a_row = a.row;
  g.a_col = a.col;
  g.a_panel = a.panel;
  g.a_row_panel = a.row_panel;
  g.b = p.b.at(at.panel, k);
  g.b_panel = p.b.stride;
  g.c = p.c.data + at.row * p.c.row;
  g.c_row = p.c.row;
  g.columns = p.c.columns + 2 * at.panel;
  g.init = k == 0 ? p.init : Init::accumulate;
  g.bias = p.bias ? p.bias + at.panel * panel_width : nullptr;
  kernels::table().gemm(g);
}

// At least one block, so that a product of depth 0 writes its initial values.
template <typename Visit>
void for_depth_blocks(index depth, Visit&& visit) {
  for (index k = 0; k == 0 || k < depth; k += depth_block) visit(k, std::min(depth_block, depth - k));
}

}  // namespace

Operand Operand::row_major(ConstMatrixView a) {
  return {a.data, a.rows, a.cols, a.cols, 1, panel_width, 0};
}

Operand Operand::packed(const Panels& a, index depth) { return {a.data, a.rows, depth, panel_width, 1, a.stride, 0}; }

Operand Operand::packed_transposed(const Panels& a, index rows) {
  return {a.data, rows, a.rows, 1, panel_width, panel_width * panel_width, a.stride};
}

Operand Operand::slice_rows(index first, index count) const {
  Operand slice = *this;
  slice.data += row_panel ? first / panel_width * row_panel + first % panel_width : first * row;
  slice.rows = count;
  return slice;
}

void multiply_rectangle(const Product& p, const Rectangle& at) {
  for_depth_blocks(p.a.depth, [&](index k, index depth) { multiply_block(p, at, k, depth); });
}

void multiply(const Team& team, const Product& p) {
  const index granule = p.a.row_panel ? panel_width : kernels::table().gemm_rows;
  const index block = row_block(p.a, granule);
  for (index first = 0; first < p.a.rows; first += block) {
    const index rows = std::min(block, p.a.rows - first);
    // A thread has the same tiles in every block of depth, so their sums need no barrier on the way through memory.
    for_depth_blocks(p.a.depth, [&](index k, index depth) {
      for_share(team, p.b.panels, rows, granule, [&](index panel, index panels, index row, index count) {
        multiply_block(p, {first + row, count, panel, panels}, k, depth);
      });
    });
  }
}

const Column* natural_columns(Workspace::Frame& frame, index cols) {
  const index halves = 2 * panels_of(cols);
  auto* columns = frame.take<Column>(halves);
  for (index q = 0; q < halves; ++q)
    columns[q] = {q * half_width, std::clamp(cols - q * half_width, index{0}, half_width)};
  return columns;
}

const Column* packed_columns(Workspace::Frame& frame, const Panels& c) {
  auto* columns = frame.take<Column>(2 * c.panels);
  for (index q = 0; q < 2 * c.panels; ++q) columns[q] = {q / 2 * c.stride + q % 2 * half_width, half_width};
  return columns;
}

void pack(const Team& team, ConstMatrixView matrix, const Column* columns, const Panels& packed) {
  // Sixteen rows at a time are read along and written to each panel as whole kilobytes: one row at a time would touch a page
  // for every 128 bytes, on the one side or the other.
  constexpr index row_block = 16;
  const Range share = team.share(2 * packed.panels);
  for (index first = 0; first < matrix.rows; first += row_block) {
    const index end = std::min(first + row_block, matrix.rows);
    for (index q = share.begin; q < share.end; ++q) {
      const Column& from = columns[q];
      for (index r = first; r < end; ++r) {
        float* to = packed.at(q / 2, r) + q % 2 * half_width;
        const float* source = matrix.row(r) + from.offset;
        if (from.width == half_width) {
          std::memcpy(to, source, half_width * sizeof(float));
        } else {
          std::fill_n(to, half_width, 0.0f);
          std::copy_n(source, from.width, to);
        }
      }
    }
  }
}

void pack_transposed(const Team& team, ConstMatrixView matrix, const Column* columns, const Panels& packed) {
  const index halves = packed.rows / half_width;
  const auto& k = kernels::table();
  const Range share = team.share(packed.panels);
  for (index p = share.begin; p < share.end; ++p) {
    const index first = p * panel_width, count = std::min(panel_width, matrix.rows - first);
    for (index q = 0; q < halves; ++q) {
      float* to = packed.at(p, q * half_width);
      const Column& from = columns[q];
      if (from.width < half_width || count < panel_width) std::fill_n(to, half_width * panel_width, 0.0f);
      k.transpose(count, from.width, matrix.row(first) + from.offset, matrix.cols, to);
    }
  }
}

void pack_bias(const Team& team, const float* bias, const Column* columns, index panels, float padding, float* packed) {
  const Range share = team.share(2 * panels);
  for (index q = share.begin; q < share.end; ++q)
    for (index l = 0; l < half_width; ++l)
      packed[q * half_width + l] = l >= columns[q].width ? padding : bias ? bias[columns[q].offset + l] : 0.0f;
}

void column_sums(const Team& team, const Panels& packed, const Column* columns, bool accumulate, float* out) {
  // One chain over thousands of rows would lose digits that blocks of 64 keep.
  constexpr index rows_per_block = 64;
  const auto& k = kernels::table();
  const Range share = team.share(packed.panels);
  for (index p = share.begin; p < share.end; ++p) {
    float total[panel_width] = {};
    for (index r = 0; r < packed.rows; r += rows_per_block) {
      float part[panel_width] = {};
      k.column_sums(std::min(rows_per_block, packed.rows - r), panel_width, packed.at(p, r), panel_width, part);
      k.add(panel_width, part, total);
    }
    for (index half = 0; half < 2; ++half) {
      const Column& to = columns[2 * p + half];
      for (index l = 0; l < to.width; ++l) {
        const float sum = total[half * half_width + l];
        out[to.offset + l] = accumulate ? out[to.offset + l] + sum : sum;
      }
    }
  }
}

void sum_rows(const Team& team, const Panels& packed, const std::int32_t* to, const Panels& sums) {
  const Range share = team.share(packed.panels);
  for (index p = share.begin; p < share.end; ++p) {
    std::fill_n(sums.at(p, 0), sums.rows * panel_width, 0.0f);
    kernels::table().add_rows(packed.rows, packed.at(p, 0), to, sums.at(p, 0));
  }
}

}  // namespace recurlm
