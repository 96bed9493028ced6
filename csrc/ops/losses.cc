#include "ops/losses.h"

#include <algorithm>
#include <cmath>

#include "cpu/threads.h"

namespace recurlm {

namespace {

constexpr double epsilon = 1e-7;  // Keras's: probabilities are clipped to [epsilon, 1 - epsilon]

double clip(double p) { return std::clamp(p, epsilon, 1 - epsilon); }
// The gradient of clip(): nothing passes where it has acted. A NaN passes.
bool clipped(double p) { return p < epsilon || p > 1 - epsilon; }

template <typename Visit>
void for_rows(index rows, index cols, Visit&& visit) {
  constexpr double operations_per_element = 20;  // a logarithm
  parallel(threads_for(operations_per_element * static_cast<double>(rows * cols)), [&](Team& team) {
    const Range share = team.share(rows);
    for (index r = share.begin; r < share.end; ++r) visit(r);
  });
}

double row_sum(const float* row, index cols) {
  double sum = 0;
  for (index n = 0; n < cols; ++n) sum += static_cast<double>(row[n]);
  return sum;
}

// The loss of one element, before the mean over the row.
double element_loss(LossKind kind, double t, double p) {
  switch (kind) {
    case LossKind::mean_squared_error: return (p - t) * (p - t);
    case LossKind::mean_absolute_error: return std::abs(p - t);
    default: return -(t * std::log(clip(p)) + (1 - t) * std::log(1 - clip(p)));
  }
}

double element_gradient(LossKind kind, double t, double p) {
  switch (kind) {
    case LossKind::mean_squared_error: return 2 * (p - t);
    case LossKind::mean_absolute_error: return p > t ? 1 : p < t ? -1 : p - t;
    default: return clipped(p) ? 0 : (p - t) / (p * (1 - p));
  }
}

// -sum_n t_n log(clip(p_n / sum(p)))
double categorical_loss(const float* t, const float* p, index cols) {
  const double sum = row_sum(p, cols);
  double loss = 0;
  for (index n = 0; n < cols; ++n) loss -= static_cast<double>(t[n]) * std::log(clip(static_cast<double>(p[n]) / sum));
  return loss;
}

void categorical_gradient(const float* t, const float* p, index cols, double weight, float* dp) {
  const double sum = row_sum(p, cols);
  double through_sum = 0;
  for (index n = 0; n < cols; ++n)
    if (!clipped(static_cast<double>(p[n]) / sum)) through_sum += static_cast<double>(t[n]);
  for (index n = 0; n < cols; ++n) {
    const double pn = static_cast<double>(p[n]);
    const double direct = clipped(pn / sum) ? 0 : static_cast<double>(t[n]) / pn;
    dp[n] = static_cast<float>(weight * (through_sum / sum - direct));
  }
}

}  // namespace

void loss_forward(LossKind kind, ConstMatrixView y_true, ConstMatrixView y_pred, float* loss) {
  const index cols = y_pred.cols;
  for_rows(y_pred.rows, cols, [&](index r) {
    const float *t = y_true.row(r), *p = y_pred.row(r);
    if (kind == LossKind::categorical_crossentropy) {
      loss[r] = static_cast<float>(categorical_loss(t, p, cols));
      return;
    }
    double sum = 0;
    for (index n = 0; n < cols; ++n) sum += element_loss(kind, static_cast<double>(t[n]), static_cast<double>(p[n]));
    loss[r] = static_cast<float>(sum / static_cast<double>(cols));
  });
}

void loss_backward(LossKind kind, ConstMatrixView y_true, ConstMatrixView y_pred, const float* weights, MatrixView dy) {
  const index cols = y_pred.cols;
  for_rows(y_pred.rows, cols, [&](index r) {
    const float *t = y_true.row(r), *p = y_pred.row(r);
    const auto weight = static_cast<double>(weights[r]);
    if (kind == LossKind::categorical_crossentropy) return categorical_gradient(t, p, cols, weight, dy.row(r));
    const double scale = weight / static_cast<double>(cols);
    for (index n = 0; n < cols; ++n)
      dy.row(r)[n] =
          static_cast<float>(scale * element_gradient(kind, static_cast<double>(t[n]), static_cast<double>(p[n])));
  });
}

void sparse_categorical_crossentropy_forward(const std::int32_t* targets, ConstMatrixView y_pred, float* loss) {
  for_rows(y_pred.rows, y_pred.cols, [&](index r) {
    const float* p = y_pred.row(r);
    const double target = static_cast<double>(p[targets[r]]) / row_sum(p, y_pred.cols);
    loss[r] = static_cast<float>(-std::log(clip(target)));
  });
}

void sparse_categorical_crossentropy_backward(const std::int32_t* targets, ConstMatrixView y_pred, const float* weights,
                                              MatrixView dy) {
  for_rows(y_pred.rows, y_pred.cols, [&](index r) {
    const float* p = y_pred.row(r);
    const double sum = row_sum(p, y_pred.cols), target = static_cast<double>(p[targets[r]]);
    const auto weight = static_cast<double>(weights[r]);
    const bool passes = !clipped(target / sum);
    std::fill_n(dy.row(r), y_pred.cols, passes ? static_cast<float>(weight / sum) : 0.0f);
    if (passes) dy.row(r)[targets[r]] = static_cast<float>(weight * (1 / sum - 1 / target));
  });
}

void softmax_cross_entropy(ConstMatrixView logits, ConstMatrixView y_true, const float* weights, float* loss,
                           MatrixView dlogits) {
  const index cols = logits.cols;
  for_rows(logits.rows, cols, [&](index r) {
    const float *z = logits.row(r), *t = y_true.row(r);
    const auto largest = static_cast<double>(*std::max_element(z, z + cols));
    double sum = 0, total = 0, dot = 0;
    for (index n = 0; n < cols; ++n) {
      const double shifted = static_cast<double>(z[n]) - largest;
      sum += std::exp(shifted);
      total += static_cast<double>(t[n]);
      // 0 * -inf: a class that the model excludes and the target does not name costs nothing.
      if (t[n] != 0.0f) dot += static_cast<double>(t[n]) * shifted;
    }
    loss[r] = static_cast<float>(total * std::log(sum) - dot);
    if (!dlogits) return;
    for (index n = 0; n < cols; ++n) {
      const double p = std::exp(static_cast<double>(z[n]) - largest) / sum;
      dlogits.row(r)[n] =
          static_cast<float>(static_cast<double>(weights[r]) * (p * total - static_cast<double>(t[n])));
    }
  });
}

}  // namespace recurlm
