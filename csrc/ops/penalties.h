// Penalties that are added to a loss: on the size of weights or activations, and on how fast activations change.
#pragma once

#include "base/types.h"

namespace recurlm {

// l1 sum |x| + l2 sum x^2; its gradient is added to `gradient` unless that is null.
double penalty(index count, const float* x, double l1, double l2, float* gradient);

// factor sum_t sum (x_t - x_{t-1})^2 over x (steps, width): the temporal penalty of Merity et al. (2017) before its mean.
double difference_penalty(index steps, index width, const float* x, double factor, float* gradient);

}  // namespace recurlm
