#include "ops/weights.h"

#include <algorithm>
#include <cstring>

namespace recurlm {

namespace {

float expand(bfloat16 x) {
  const std::uint32_t bits = std::uint32_t{x.bits} << 16;
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

// Rows of B that lie together in a panel, column by column.
index row_group(Precision precision) {
  return precision == Precision::float32 ? 1 : precision == Precision::bfloat16 ? 2 : 4;
}

std::size_t element_size(Precision precision) { return std::size_t{4} / static_cast<std::size_t>(row_group(precision)); }

// One panel, whose column n is at(n, k) for the ks; what does not exist is 0.
template <typename T, typename At>
void pack_panel(const PackedWeights& packed, index panel, At&& at) {
  const index group = row_group(packed.precision);
  T* to = static_cast<T*>(packed.data) + panel * packed.stride;
  std::fill_n(to, packed.stride, T{});
  for (index n = 0; n < panel_width; ++n)
    for (index k = 0; k < packed.depth; ++k)
      if (const T* from = at(n, k)) to[(k / group * panel_width + n) * group + k % group] = *from;
}

void add_sums(const PackedWeights& packed, index panel) {
  const auto* from = static_cast<const std::int8_t*>(packed.data) + panel * packed.stride;
  std::int32_t* sums = packed.sums + panel * panel_width;
  std::fill_n(sums, panel_width, 0);
  for (index i = 0; i < packed.stride; ++i) sums[i / 4 % panel_width] += from[i];
}

// column_of(panel, n): which column (or row) of the matrix becomes column n of a panel, or -1.
template <typename T, typename ColumnOf>
void pack_panels(const Team& team, const StoredMatrix& matrix, bool rows, const PackedWeights& packed, ColumnOf&& column_of) {
  const Range share = team.share(packed.panels);
  for (index p = share.begin; p < share.end; ++p) {
    pack_panel<T>(packed, p, [&](index n, index k) -> const T* {
      const index c = column_of(p, n);
      return c < 0 ? nullptr : rows ? matrix.row<T>(c) + k : matrix.row<T>(k) + c;
    });
    if (packed.precision != Precision::int8) continue;
    for (index n = 0; n < panel_width; ++n) {
      const index c = column_of(p, n);
      packed.scales[p * panel_width + n] = c < 0 ? 0.0f : matrix.scales[c];
    }
    add_sums(packed, p);
  }
}

template <typename ColumnOf>
void pack_narrow(const Team& team, const StoredMatrix& matrix, bool rows, const PackedWeights& packed, ColumnOf&& column_of) {
  if (packed.precision == Precision::bfloat16)
    pack_panels<bfloat16>(team, matrix, rows, packed, column_of);
  else
    pack_panels<std::int8_t>(team, matrix, rows, packed, column_of);
}

ConstMatrixView as_floats(const StoredMatrix& matrix) {
  return {static_cast<const float*>(matrix.data), matrix.rows, matrix.cols};
}

}  // namespace

std::size_t StoredMatrix::nbytes() const { return static_cast<std::size_t>(rows * cols) * element_size(precision); }

void StoredMatrix::expand_row(index r, float* to) const {
  if (precision == Precision::float32) {
    std::memcpy(to, row<float>(r), static_cast<std::size_t>(cols) * sizeof(float));
  } else if (precision == Precision::bfloat16) {
    for (index c = 0; c < cols; ++c) to[c] = expand(row<bfloat16>(r)[c]);
  } else {
    for (index c = 0; c < cols; ++c) to[c] = static_cast<float>(row<std::int8_t>(r)[c]) * scales[r];
  }
}

std::size_t PackedWeights::read_bytes() const {
  const index group = row_group(precision), columns = panels * panel_width;
  const std::size_t beside = scales ? static_cast<std::size_t>(columns) * (sizeof *scales + sizeof *sums) : 0;
  return static_cast<std::size_t>(ceil_div(depth, group) * group * columns) * element_size(precision) + beside;
}

PackedWeights weights_of(Precision precision, index depth, index panels) {
  const index stride = ceil_div(depth, half_width) * half_width * panel_width;  // as many rows as are transposed at once
  return {precision, depth, panels, nullptr, stride};
}

PackedWeights take_weights(Workspace::Frame& frame, Precision precision, index depth, index panels) {
  PackedWeights packed = weights_of(precision, depth, panels);
  packed.data = frame.take<std::byte>(panels * packed.stride * static_cast<index>(element_size(precision)));
  if (precision == Precision::int8) {
    packed.scales = frame.take<float>(panels * panel_width);
    packed.sums = frame.take<std::int32_t>(panels * panel_width);
  }
  return packed;
}

void pack(const Team& team, const Packable& source, const PackedWeights& packed) {
  if (packed.precision == Precision::bfloat16)
    pack(team, source, static_cast<bfloat16*>(packed.data), packed.stride);
  else
    pack(team, source, static_cast<float*>(packed.data), packed.stride);
}

void pack_columns(const Team& team, const StoredMatrix& matrix, const Column* columns, const PackedWeights& packed) {
  if (packed.precision == Precision::float32)
    return pack(team, Packable::columns_of(as_floats(matrix), columns, packed.panels), packed);
  pack_narrow(team, matrix, false, packed, [&](index panel, index n) {
    const Column& half = columns[2 * panel + n / half_width];
    return n % half_width < half.width ? half.offset + n % half_width : -1;
  });
}

void pack_rows(const Team& team, const StoredMatrix& matrix, const Column* columns, const PackedWeights& packed) {
  if (packed.precision == Precision::float32)
    return pack(team, Packable::rows_of(as_floats(matrix), columns, ceil_div(matrix.cols, half_width)), packed);
  pack_narrow(team, matrix, true, packed, [&](index panel, index n) {
    const index row = panel * panel_width + n;
    return row < matrix.rows ? row : -1;
  });
}

}  // namespace recurlm
