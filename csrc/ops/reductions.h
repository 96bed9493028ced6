// Sums whose bits do not depend on threads: blocks fixed by shape, in double, combined in order.
#pragma once

#include "base/views.h"

namespace recurlm {

// sum of values[i] * weights[i]; weights null for ones.
double weighted_sum(index count, const float* values, const float* weights);

// Squared Euclidean norm of each of `arrays` arrays.
void squared_norms(index arrays, const float* const* data, const index* counts, double* norms);

}  // namespace recurlm
