// A recurrent layer for running only: packed once and never changed.
#pragma once

#include "files/safetensors.h"
#include "ops/recurrent.h"

namespace recurlm {

// In which matrices of a precision are stored.
ElementType element_type(Precision precision);

struct ModelLayer {
  CellSpec spec;
  StoredMatrix kernel, recurrent_kernel;  // Keras layout, as CellWeights
  const float* bias;
};

struct PackedLayer {
  CellSpec spec;
  const Column* columns;
  PackedWeights kernel, recurrent_kernel;
  float *bias, *recurrent_bias;

  // Its extents; where its arrays lie comes after.
  static PackedLayer of(const ModelLayer& layer);
  // The calling thread's share of the packing.
  void pack(const Team& team, const ModelLayer& from) const;

  PackedCell with_room(Workspace::Frame& frame, int threads) const;
  std::size_t read_bytes() const { return kernel.read_bytes() + recurrent_kernel.read_bytes(); }
  double operations() const;  // in floating point, on one token
};

}  // namespace recurlm
