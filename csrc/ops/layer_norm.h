// Layer normalisation of rows (Ba, Kiros, Hinton 2016): y = gamma (x - mean) / sqrt(variance + epsilon) + beta.
#pragma once

#include "base/views.h"
#include "base/workspace.h"

namespace recurlm {

struct LayerNormWeights {
  const float *gamma, *beta;  // (D), or null
};

struct LayerNormGradients {
  float *gamma, *beta;  // (D), or null
  bool accumulate;
};

// statistics (R, 2): mean and 1 / sqrt(variance + epsilon), for the backward pass.
void layer_norm_forward(ConstMatrixView x, const LayerNormWeights& weights, float epsilon, float* y, float* statistics);
void layer_norm_backward(ConstMatrixView x, const float* gamma, const float* statistics, const float* dy, float* dx,
                         const LayerNormGradients& gradients, Workspace& workspace);

}  // namespace recurlm
