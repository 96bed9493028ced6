// Array views: pointers with shapes. They own nothing.
#pragma once

#include "base/types.h"

namespace recurlm {

constexpr index ceil_div(index a, index b) { return (a + b - 1) / b; }

// Row-major (rows, cols), rows contiguous.
template <typename T>
struct Matrix {
  T* data = nullptr;
  index rows = 0;
  index cols = 0;

  explicit operator bool() const { return data != nullptr; }
  T* row(index r) const { return data + r * cols; }
  index size() const { return rows * cols; }
};

using MatrixView = Matrix<float>;
using ConstMatrixView = Matrix<const float>;

// Packed (rows, 32 * panels): element (r, n) lies at data[(n / 32) * stride + r * 32 + n % 32].
struct Panels {
  float* data = nullptr;
  index rows = 0;
  index panels = 0;
  index stride = 0;  // floats from one panel to the next; rows * 32 unless this is a slice of rows

  float* at(index panel, index row) const { return data + panel * stride + row * panel_width; }
  Panels slice(index first_row, index row_count) const {
    return {data + first_row * panel_width, row_count, panels, stride};
  }
  static index size(index rows, index panels) { return rows * panels * panel_width; }
};

}  // namespace recurlm
