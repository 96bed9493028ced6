// exp, sigmoid, tanh and gelu on vectors. tests/ops/test_activations.py holds them to the bounds stated here.
#pragma once

#include "kernels/vec.h"

namespace recurlm::kernels::RECURLM_KERNEL_ISA {
namespace {

// exp(x) with a relative error of at most 2^-22.5 for -87.33 <= x <= 87.33; 0 below, infinity above; NaN stays NaN.
// x = n ln 2 + r with |r| <= ln 2 / 2 (ln 2 in two parts, so that n * high is exact); exp(r) by the polynomial of degree 6 with the
// least relative error on that interval, 2e-9 (the Taylor series needs degree 7 for 6e-9).
constexpr float exp_lowest = -87.33f, exp_highest = 87.33f;  // neither the value nor its inverse is denormal

// exp of x bounded to that interval.
RECURLM_INLINE vec bounded_exp(vec x) {
  const vec clamped = min(set1(exp_highest), max(set1(exp_lowest), x));  // the second operand is returned where x is NaN
  const vec n = round(clamped * set1(1.44269504f));  // in [-126, 126]: exponents of normal numbers
  const vec r = fmadd(n, set1(2.12194440e-4f), fmadd(n, set1(-0.693359375f), clamped));
  vec p = set1(1.38367829e-3f);
  p = fmadd(p, r, set1(8.37485678e-3f));
  p = fmadd(p, r, set1(4.16682288e-2f));
  p = fmadd(p, r, set1(0.166664198f));
  p = fmadd(p, r, set1(0.499999911f));
  p = fmadd(p, r, set1(1.0f));
  p = fmadd(p, r, set1(1.0f));
  return scale_exponent(p, n);
}

RECURLM_INLINE vec exp(vec x) {
  const vec bounded = select_gt(set1(exp_lowest), x, set1(0.0f), bounded_exp(x));
  return select_gt(x, set1(exp_highest), set1(__builtin_inff()), bounded);
}

// Absolute error at most 2e-7, also where the exponential is bounded, and no result is denormal. An approximate reciprocal with
// Newton's steps gained nothing: the arithmetic around the division hides it.
RECURLM_INLINE vec sigmoid(vec x) {
  const vec one = set1(1.0f);
  return one / (one + bounded_exp(set1(0.0f) - x));
}

// tanh x = 2 sigmoid(2x) - 1. Absolute error at most 3e-7.
RECURLM_INLINE vec tanh(vec x) { return fmadd(set1(2.0f), sigmoid(x + x), set1(-1.0f)); }

RECURLM_INLINE vec relu(vec x) { return max(set1(0.0f), x); }  // the second operand is returned where x is NaN

// Phi(x), the normal distribution, and its density times sqrt(2 pi), for |x| <= 100. With t = 1 / (1 + p |x| / sqrt(2)),
// Phi(-|x|) = t (a1 + a2 t + ... + a5 t^4) exp(-x^2 / 2) / 2 to within 7.5e-8 (Hastings 1955; Abramowitz and Stegun 7.1.26).
struct Normal {
  vec distribution, density;
};

RECURLM_INLINE Normal normal(vec x) {
  const vec zero = set1(0.0f), one = set1(1.0f), size = max(zero - x, x);
  const vec t = one / fmadd(size, set1(0.231641888f), one);
  const vec density = exp(x * x * set1(-0.5f));
  vec p = set1(0.530702715f);
  p = fmadd(p, t, set1(-0.726576014f));
  p = fmadd(p, t, set1(0.710706871f));
  p = fmadd(p, t, set1(-0.142248368f));
  p = fmadd(p, t, set1(0.127414796f));
  const vec tail = p * t * density;
  return {select_gt(x, zero, one - tail, tail), density};
}

RECURLM_INLINE vec above_minus_100(vec x) { return max(set1(-100.0f), x); }  // where Phi is 0: no infinity times 0
RECURLM_INLINE vec within_100(vec x) { return min(set1(100.0f), above_minus_100(x)); }

// x Phi(x). Absolute error at most 2e-7 (1 + |x|).
RECURLM_INLINE vec gelu(vec x) { return above_minus_100(x) * normal(within_100(x)).distribution; }

// From x, where the others have their value: gelu is not monotonic. Absolute error at most 4e-7.
RECURLM_INLINE vec gelu_gradient(vec x) {
  const vec bounded = within_100(x);
  const Normal at = normal(bounded);
  return fmadd(bounded * set1(0.398942280f), at.density, at.distribution);
}

// Gradients from the function's value y.
RECURLM_INLINE vec sigmoid_gradient(vec y) { return y * (set1(1.0f) - y); }
RECURLM_INLINE vec tanh_gradient(vec y) { return fmadd(set1(0.0f) - y, y, set1(1.0f)); }

RECURLM_INLINE vec apply(Activation f, vec x) {
  switch (f) {
    case Activation::tanh: return tanh(x);
    case Activation::sigmoid: return sigmoid(x);
    case Activation::relu: return relu(x);
    case Activation::gelu: return gelu(x);
    default: return x;
  }
}

RECURLM_INLINE vec gradient(Activation f, vec y) {
  switch (f) {
    case Activation::tanh: return tanh_gradient(y);
    case Activation::sigmoid: return sigmoid_gradient(y);
    case Activation::relu: return select_gt(y, set1(0.0f), set1(1.0f), set1(0.0f));
    case Activation::gelu: return gelu_gradient(y);
    default: return set1(1.0f);
  }
}

// ln x for x >= 1, a sum of exponentials whose largest is 1: x = 2^e m with sqrt(1/2) <= m < sqrt(2), and
// ln m = 2 artanh((m - 1) / (m + 1)) by its series. In double; error below 1e-9.
RECURLM_INLINE double log_of_sum(double x) {
  if (!(x < 1e30)) return x;  // a NaN or an infinity in the row shows in its loss
  int e = 0;
  while (x >= 1.4142135623730951) x *= 0.5, ++e;
  const double s = (x - 1) / (x + 1), q = s * s;
  double p = 1.0 / 13;
  for (int k = 11; k >= 1; k -= 2) p = p * q + 1.0 / k;
  return e * 0.6931471805599453 + 2 * s * p;
}

}  // namespace
}  // namespace recurlm::kernels::RECURLM_KERNEL_ISA
