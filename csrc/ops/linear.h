// Linear layer on rows: y = x W + b.
#pragma once

#include "ops/gemm.h"

namespace recurlm {

// kernel (D, N) or, transposed, (N, D): then it is the table of an embedding used as a projection.
struct LinearWeights {
  ConstMatrixView kernel;
  const float* bias;  // (N) or null
  bool transposed;

  index inputs() const { return transposed ? kernel.cols : kernel.rows; }
  index outputs() const { return transposed ? kernel.rows : kernel.cols; }
};

struct LinearGradients {
  MatrixView kernel;  // of the kernel's shape, or empty
  float* bias;
  bool accumulate;
};

// The weights packed for both directions, and the column maps that go with them.
struct PackedLinear {
  PackedLinear(Workspace::Frame& frame, const LinearWeights& weights);

  // For y = x W + b; columns that do not exist get the bias `padding`.
  void take_forward(Workspace::Frame& frame);
  void pack_forward(const Team& team, float padding) const;
  // For dx = dy W'.
  void take_backward(Workspace::Frame& frame);
  void pack_backward(const Team& team) const;

  LinearWeights weights;
  const Column *input_columns, *output_columns;
  Panels kernel{};      // (D padded, N)
  Panels transposed{};  // (N padded, D)
  float* bias = nullptr;
};

// dW (+)= x' dy from packed x (R, D) and dy (R, N).
void linear_weight_gradient(const Team& team, const PackedLinear& linear, const Panels& x, const Panels& dy,
                            MatrixView dkernel, Init init);

void linear_forward(ConstMatrixView x, const LinearWeights& weights, MatrixView y, Workspace& workspace);
void linear_backward(ConstMatrixView x, const LinearWeights& weights, ConstMatrixView dy, MatrixView dx,
                     const LinearGradients& gradients, Workspace& workspace);

}  // namespace recurlm
