// Linear layer on rows: y = x W + b.
#pragma once

#include "ops/gemm.h"

namespace recurlm {

// kernel (D, N) or, transposed, (N, D): then it is the table of an embedding used as a projection.
struct LinearWeights {
  ConstMatrixView kernel;
  const float* bias;  // (N) or null
  bool transposed;
  Precision precision = Precision::float32;  // of the operands of products: float32 or bfloat16

  index inputs() const { return transposed ? kernel.cols : kernel.rows; }
  index outputs() const { return transposed ? kernel.rows : kernel.cols; }
};

struct LinearGradients {
  MatrixView kernel;  // of the kernel's shape, or empty
  float* bias;
  bool accumulate;
};

// The weights as operands of products, and the column maps that go with them.
struct LinearOperands {
  LinearOperands(Workspace::Frame& frame, const LinearWeights& weights);

  Packable forward() const;   // (D, N), for y = x W + b
  Packable backward() const;  // (N, D), for dx = dy W'

  LinearWeights weights;
  const Column *input_columns, *output_columns;
  float* bias;  // packed
};

// dW (+)= x' dy, or dy' x where W is transposed. dy, which may be logits, is never copied.
class LinearWeightGradient {
 public:
  LinearWeightGradient() = default;
  // For as many rows as `dy` (R, N), packed, has, or fewer.
  LinearWeightGradient(Workspace::Frame& frame, const LinearOperands& linear, const Panels& dy, int threads);

  // x (R, D) is prepared, a barrier, then the product with a packed dy (R, N).
  void prepare(const Team& team, ConstMatrixView x) const;
  void multiply(const Team& team, const Panels& dy, MatrixView dkernel, Init init) const;

 private:
  bool transposed_ = false;
  const Column* input_columns_ = nullptr;
  const Column* output_columns_ = nullptr;
  Transposed x_transposed_;
  Transposed turned_;  // where W is transposed
  RightOperand right_;
};

void linear_forward(ConstMatrixView x, const LinearWeights& weights, MatrixView y, Workspace& workspace);
void linear_backward(ConstMatrixView x, const LinearWeights& weights, ConstMatrixView dy, MatrixView dx,
                     const LinearGradients& gradients, Workspace& workspace);

}  // namespace recurlm
