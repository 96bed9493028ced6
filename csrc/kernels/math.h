// exp, sigmoid, tanh and gelu on vectors. tests/ops/test_activations.py holds them to the bounds stated here.
#pragma once

#include "kernels/vec.h"

namespace recurlm::kernels::RECURLM_KERNEL_ISA {
namespace {

// A number beside which a float has no digits behind the point: what is added to it is rounded to an integer n, and its low bits are
// the exponent of 2^n, for |n| <= 126.
constexpr float rounder = 12582912.0f + 127.0f;  // 1.5 * 2^23

constexpr float log2_e = 1.44269504f;

// exp(x) with a relative error of at most 2^-22.5 for -87.33 <= x <= 87.33; 0 below, infinity above; NaN stays NaN.
// x = n ln 2 + r with |r| <= ln 2 / 2 (ln 2 in two parts, so that n * high is exact); exp(r) by the polynomial of degree 6 with the
// least relative error on that interval, 2e-9 (the Taylor series needs degree 7 for 6e-9).
RECURLM_INLINE vec exp(vec x) {
  constexpr float lowest = -87.33f, highest = 87.33f;  // neither the value nor its inverse is denormal
  const vec clamped = min(set1(highest), max(set1(lowest), x));  // the second operand is returned where x is NaN
  const vec rounded = fmadd(clamped, set1(log2_e), set1(rounder)), n = rounded - set1(rounder);
  const vec r = fmadd(n, set1(2.12194440e-4f), fmadd(n, set1(-0.693359375f), clamped));
  vec p = set1(1.38367829e-3f);
  p = fmadd(p, r, set1(8.37485678e-3f));
  p = fmadd(p, r, set1(4.16682288e-2f));
  p = fmadd(p, r, set1(0.166664198f));
  p = fmadd(p, r, set1(0.499999911f));
  p = fmadd(p, r, set1(1.0f));
  p = fmadd(p, r, set1(1.0f));
  const vec bounded = select_gt(set1(lowest), x, set1(0.0f), p * as_exponent(rounded));
  return select_gt(x, set1(highest), set1(__builtin_inff()), bounded);
}

// 1 / (1 + 2^t): exp would be more exact for large -t, where it does not show any more. 2^r for |r| <= 1/2 by the polynomial of degree
// 5 that is 1 at 0 and has the least relative error, 1.1e-7 in these coefficients. No result is denormal.
RECURLM_INLINE vec falling_logistic(vec t) {
  const vec clamped = min(set1(125.99f), max(set1(-125.99f), t));
  const vec rounded = clamped + set1(rounder), r = clamped - (rounded - set1(rounder));
  vec p = set1(1.32647273e-3f);
  p = fmadd(p, r, set1(9.67151299e-3f));
  p = fmadd(p, r, set1(5.55073358e-2f));
  p = fmadd(p, r, set1(0.240222424f));
  p = fmadd(p, r, set1(0.693147004f));
  p = fmadd(p, r, set1(1.0f));
  return set1(1.0f) / fmadd(p, as_exponent(rounded), set1(1.0f));
}

// Absolute error at most 2e-7.
RECURLM_INLINE vec sigmoid(vec x) { return falling_logistic(x * set1(-log2_e)); }

// tanh x = 2 sigmoid(2x) - 1. Absolute error at most 3e-7.
RECURLM_INLINE vec tanh(vec x) { return fmadd(set1(2.0f), falling_logistic(x * set1(-2 * log2_e)), set1(-1.0f)); }

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
