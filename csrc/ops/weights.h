// Weights that are multiplied often: packed once from the matrices of a model, in the precision in which these are stored.
#pragma once

#include "ops/packing.h"

namespace recurlm {

// A row-major matrix as it is stored. In int8 an element is its integer times the scale of its column or, in a table that is read
// row by row, of its row.
struct StoredMatrix {
  Precision precision;
  const void* data;
  index rows, cols;
  const float* scales = nullptr;

  template <typename T>
  const T* row(index r) const {
    return static_cast<const T*>(data) + r * cols;
  }
  std::size_t nbytes() const;
  // Row r of a table in float32.
  void expand_row(index r, float* to) const;
};

// The right operand B (depth, 32 * panels) in the layout of kernels::Gemm, GemmBfloat16Weights or GemmInt8.
struct PackedWeights {
  Precision precision = Precision::float32;
  index depth = 0, panels = 0;
  void* data = nullptr;
  index stride = 0;              // elements, from one panel to the next
  float* scales = nullptr;       // (panels, 32); int8
  std::int32_t* sums = nullptr;  // the same

  static PackedWeights of(const Panels& p) { return {Precision::float32, p.rows, p.panels, p.data, p.stride}; }
  // What a product reads.
  std::size_t read_bytes() const;
};

// Without memory yet.
PackedWeights weights_of(Precision precision, index depth, index panels);
PackedWeights take_weights(Workspace::Frame& frame, Precision precision, index depth, index panels);
void pack(const Team& team, const Packable& source, const PackedWeights& packed);  // in float32 or bfloat16
// The columns of B are those of the matrix, half panel by half panel in the order of the map.
void pack_columns(const Team& team, const StoredMatrix& matrix, const Column* columns, const PackedWeights& packed);
// They are its rows; `columns` is the natural map of its columns.
void pack_rows(const Team& team, const StoredMatrix& matrix, const Column* columns, const PackedWeights& packed);

}  // namespace recurlm
