// Optimisers: one pass over a list of parameters, with their gradients and moments.
#pragma once

#include <vector>

#include "ops/blocks.h"

namespace recurlm {

enum class UpdateKind { sgd, rmsprop, adagrad, adam, lion };

struct UpdateRule {
  UpdateKind kind = UpdateKind::sgd;
  double momentum = 0, rho = 0.9, beta_1 = 0.9, beta_2 = 0.999, epsilon = 1e-7, clip_value = 0;
  bool nesterov = false, centered = false, amsgrad = false;

  int slots() const;  // moments for each parameter
};

struct ParameterSpan {
  Elements elements;  // those that are updated
  float* parameter;
  const float* gradient;
  float* slots[3];
  double gradient_scale;
  double weight_decay;
};

// step counts from 1.
void apply_update(const UpdateRule& rule, std::int64_t step, double learning_rate,
                  const std::vector<ParameterSpan>& spans);

struct MeanSpan {
  index count;
  const float* value;
  float* mean;
};

// mean += weight * (value - mean); exactly the value where the weight is 1.
void update_means(const std::vector<MeanSpan>& spans, double weight);

}  // namespace recurlm
