// Penalties on the size of weights and activations. Sums are in double, in eight chains that are combined in order.
#pragma once

#include "kernels/vec.h"

namespace recurlm::kernels::RECURLM_KERNEL_ISA {
namespace {

constexpr int sum_chains = 8;

template <typename Term>
RECURLM_INLINE double sum_in_chains(index count, Term&& term) {
  double totals[sum_chains] = {};
  index i = 0;
  for (; i + sum_chains <= count; i += sum_chains)
    for (int c = 0; c < sum_chains; ++c) totals[c] += term(i + c);
  for (; i < count; ++i) totals[0] += term(i);
  double total = 0;
  for (double part : totals) total += part;
  return total;
}

double squared_norm(index count, const float* x) {
  return sum_in_chains(count, [x](index i) { return static_cast<double>(x[i]) * static_cast<double>(x[i]); });
}

double absolute_sum(index count, const float* x) {
  return sum_in_chains(count, [x](index i) { return static_cast<double>(__builtin_fabsf(x[i])); });
}

double squared_distance(index count, const float* x, const float* y) {
  return sum_in_chains(count, [x, y](index i) {
    const double d = static_cast<double>(x[i]) - static_cast<double>(y[i]);
    return d * d;
  });
}

// gradient += l1 sign(x) + 2 l2 x
void penalty_gradient(index count, const float* x, float l1, float l2, float* gradient) {
  const vec zero = set1(0.0f), up = set1(l1), down = set1(-l1), slope = set1(2.0f * l2);
  for (index i = 0; i < count; i += lanes) {
    const index n = tail(count, i);
    const vec v = load_n(x + i, n), sign = select_gt(v, zero, up, select_gt(zero, v, down, zero));
    store_n(gradient + i, load_n(gradient + i, n) + fmadd(slope, v, sign), n);
  }
}

// With d = 2 factor (x - before): gradient += d, gradient_before -= d.
void difference_gradient(index count, const float* before, const float* x, float factor, float* gradient_before, float* gradient) {
  const vec slope = set1(2.0f * factor);
  for (index i = 0; i < count; i += lanes) {
    const index n = tail(count, i);
    const vec d = slope * (load_n(x + i, n) - load_n(before + i, n));
    store_n(gradient_before + i, load_n(gradient_before + i, n) - d, n);
    store_n(gradient + i, load_n(gradient + i, n) + d, n);
  }
}

}  // namespace
}  // namespace recurlm::kernels::RECURLM_KERNEL_ISA
