#include "ops/packing.h"

#include <algorithm>

namespace recurlm {

namespace {

// Up to 32 rows of the matrix's columns `from`, as columns of half_width rows of a panel.
void transpose_half(ConstMatrixView matrix, const Column& from, index first, float* to) {
  const index count = std::min(panel_width, matrix.rows - first);
  if (from.width < half_width || count < panel_width) std::fill_n(to, half_width * panel_width, 0.0f);
  kernels::table().transpose(count, from.width, matrix.row(first) + from.offset, matrix.cols, to, panel_width);
}

}  // namespace

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

void Packable::pack_panel(index panel, index first, index count, float* to) const {
  if (transposed) {
    for (index q = first / half_width; q < ceil_div(first + count, half_width); ++q, to += half_width * panel_width)
      transpose_half(matrix, columns[q], panel * panel_width, to);
  } else {
    for (index half = 0; half < 2; ++half) {
      const Column& from = columns[2 * panel + half];
      kernels::table().copy(count, from.width, matrix.row(first) + from.offset, matrix.cols, to + half * half_width);
    }
  }
}

void Packable::pack_panel(index panel, index first, index count, bfloat16* to) const {
  float rows[half_width * panel_width];
  for (index r = 0; r < count; r += half_width, to += half_width * panel_width) {
    pack_panel(panel, first + r, std::min(half_width, count - r), rows);
    kernels::table().pair_rows(std::min(half_width, count - r), rows, to);
  }
}

Transposed take_transposed(Workspace::Frame& frame, Precision precision, index rows, index depth) {
  // An odd number of cache lines: rows a power of two apart would share a few sets of the cache.
  const index line = precision == Precision::float32 ? half_width : panel_width;
  const index stride = (ceil_div(depth, line) | 1) * line;
  const auto take = [&](auto element) -> void* { return frame.take<decltype(element)>(rows * stride); };
  return {precision, precision == Precision::float32 ? take(float{}) : take(bfloat16{}), rows, depth, stride};
}

void transpose_columns(const Transposed& to, index first, index count, const float* from, index ld) {
  if (to.precision == Precision::float32)
    return kernels::table().transpose(count, to.rows, from, ld, static_cast<float*>(to.data) + first, to.stride);
  float turned[panel_width * panel_width];
  for (index row = 0; row < to.rows; row += panel_width) {
    const index rows = std::min(panel_width, to.rows - row);
    kernels::table().transpose(count, rows, from + row, ld, turned, panel_width);
    bfloat16* rounded = static_cast<bfloat16*>(to.data) + row * to.stride + first;
    kernels::table().round_rows(rows, count, turned, panel_width, panel_width, rounded, to.stride);
  }
}

void transpose(const Team& team, ConstMatrixView from, const Transposed& to) {
  const Range share = team.share(panels_of(from.rows));
  for (index p = share.begin; p < share.end; ++p) {
    const index first = p * panel_width;
    transpose_columns(to, first, std::min(panel_width, from.rows - first), from.row(first), from.cols);
  }
}

void pack_bias(const Team& team, const float* bias, const Column* columns, index panels, float padding, float* packed) {
  const Range share = team.share(2 * panels);
  for (index q = share.begin; q < share.end; ++q)
    for (index l = 0; l < half_width; ++l)
      packed[q * half_width + l] = l >= columns[q].width ? padding : bias ? bias[columns[q].offset + l] : 0.0f;
}

}  // namespace recurlm
