// Linear projection, softmax and cross-entropy fused over chunks of rows, so that logits never exist whole:
//
//   p = softmax(x W + b)   loss = -sum_r w_r sum_v q[r, v] ln p[r, v]   dlogits = w_r (p - q)
//
// where q is the one-hot target, mixed with the uniform distribution: (1 - smoothing) onehot + smoothing / V (Szegedy et al. 2016).
#pragma once

#include <cstdint>

#include "ops/linear.h"

namespace recurlm {

struct TokenScores {
  float* log_probs;             // (R) of the targets, natural
  std::int32_t* ranks;          // (R) entries more probable than the target
  std::int32_t* predictions;    // (R) arg max
};

// row_weights (R) or null for ones; dx (R, D) may be empty. Returns the weighted loss, summed in double in order.
double projection_cross_entropy(ConstMatrixView x, const LinearWeights& weights, const std::int32_t* targets,
                                const float* row_weights, float smoothing, const TokenScores& scores, MatrixView dx,
                                const LinearGradients& gradients, Workspace& workspace);

}  // namespace recurlm
