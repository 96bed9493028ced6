// Sums whose bits do not depend on threads: blocks fixed by shape, in double, combined in order.
#pragma once

#include <vector>

#include "ops/blocks.h"

namespace recurlm {

// sum of values[i] * weights[i]; weights null for ones.
double weighted_sum(index count, const float* values, const float* weights);

// Squared Euclidean norm of each array; what is not among its elements is 0.
void squared_norms(const std::vector<const float*>& data, const std::vector<Elements>& elements, double* norms);

}  // namespace recurlm
