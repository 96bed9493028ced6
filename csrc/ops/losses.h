// Losses on probabilities or values, row by row, in Keras's definitions, and softmax cross-entropy with dense targets.
#pragma once

#include <cstdint>

#include "base/views.h"

namespace recurlm {

enum class LossKind { mean_squared_error, mean_absolute_error, binary_crossentropy, categorical_crossentropy };

// loss (R); y_true, y_pred (R, N)
void loss_forward(LossKind kind, ConstMatrixView y_true, ConstMatrixView y_pred, float* loss);
// dy[r] = weights[r] * d loss[r] / d y_pred[r]
void loss_backward(LossKind kind, ConstMatrixView y_true, ConstMatrixView y_pred, const float* weights, MatrixView dy);

// Categorical cross-entropy whose targets are ids.
void sparse_categorical_crossentropy_forward(const std::int32_t* targets, ConstMatrixView y_pred, float* loss);
void sparse_categorical_crossentropy_backward(const std::int32_t* targets, ConstMatrixView y_pred, const float* weights,
                                              MatrixView dy);

// loss = -sum_n y_true_n log_softmax(logits)_n;  dlogits (may be empty) = weight * (softmax * sum_n y_true_n - y_true)
void softmax_cross_entropy(ConstMatrixView logits, ConstMatrixView y_true, const float* weights, float* loss,
                           MatrixView dlogits);

}  // namespace recurlm
