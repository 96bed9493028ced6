// Update rules in Keras's form, over one block of a parameter: everything that belongs to an element is read and written once.
#pragma once

#include "kernels/vec.h"

namespace recurlm::kernels::RECURLM_KERNEL_ISA {
namespace {

RECURLM_INLINE vec scaled_gradient(const Update& u, index i, index n) {
  const vec g = load_n(u.gradient + i, n) * set1(u.scale);
  if (u.clip_value == 0.0f) return g;
  return min(set1(u.clip_value), max(set1(-u.clip_value), g));  // in this order of operands a NaN stays a NaN
}

RECURLM_INLINE vec decayed_parameter(const Update& u, index i, index n) {
  const vec p = load_n(u.parameter + i, n);
  return fmadd(set1(-u.decay), p, p);
}

// velocity = momentum * velocity - learning_rate * g;  p += velocity  (nesterov: p += momentum * velocity - learning_rate * g)
void sgd(const Update& u) {
  const vec rate = set1(-u.learning_rate), momentum = set1(u.momentum);
  float* velocity = u.slots[0];
  for (index i = 0; i < u.count; i += lanes) {
    const index n = tail(u.count, i);
    vec step = rate * scaled_gradient(u, i, n);
    if (velocity) {
      const vec v = fmadd(momentum, load_n(velocity + i, n), step);
      store_n(velocity + i, v, n);
      step = u.nesterov ? fmadd(momentum, v, step) : v;
    }
    store_n(u.parameter + i, decayed_parameter(u, i, n) + step, n);
  }
}

// s = rho * s + (1 - rho) * g^2;  centered: a = rho * a + (1 - rho) * g, s - a^2 in place of s
// step = learning_rate * g / sqrt(s + epsilon);  momentum: v = momentum * v + step, p -= v
void rmsprop(const Update& u) {
  const vec rho = set1(u.beta_2), rest = set1(u.rest_2), rate = set1(u.learning_rate), epsilon = set1(u.epsilon);
  float* mean_square = u.slots[0];
  float* velocity = u.momentum != 0.0f ? u.slots[1] : nullptr;
  float* mean = u.centered ? u.slots[velocity ? 2 : 1] : nullptr;
  for (index i = 0; i < u.count; i += lanes) {
    const index n = tail(u.count, i);
    const vec g = scaled_gradient(u, i, n);
    const vec s = fmadd(rho, load_n(mean_square + i, n), rest * g * g);
    store_n(mean_square + i, s, n);
    vec variance = s + epsilon;
    if (mean) {
      const vec a = fmadd(rho, load_n(mean + i, n), rest * g);
      store_n(mean + i, a, n);
      variance = variance - a * a;
    }
    vec step = rate * g / sqrt(variance);
    if (velocity) {
      step = fmadd(set1(u.momentum), load_n(velocity + i, n), step);
      store_n(velocity + i, step, n);
    }
    store_n(u.parameter + i, decayed_parameter(u, i, n) - step, n);
  }
}

// a += g^2;  p -= learning_rate * g / sqrt(a + epsilon)
void adagrad(const Update& u) {
  const vec rate = set1(u.learning_rate), epsilon = set1(u.epsilon);
  for (index i = 0; i < u.count; i += lanes) {
    const index n = tail(u.count, i);
    const vec g = scaled_gradient(u, i, n);
    const vec a = fmadd(g, g, load_n(u.slots[0] + i, n));
    store_n(u.slots[0] + i, a, n);
    store_n(u.parameter + i, decayed_parameter(u, i, n) - rate * g / sqrt(a + epsilon), n);
  }
}

// m += (1 - beta_1)(g - m);  v += (1 - beta_2)(g^2 - v);  p -= learning_rate * m / (sqrt(v) + epsilon)
// The caller's learning_rate carries the bias correction (Kingma & Ba 2015, end of section 2).
void adam(const Update& u) {
  const vec rate = set1(u.learning_rate), epsilon = set1(u.epsilon);
  const vec rest_1 = set1(u.rest_1), rest_2 = set1(u.rest_2);
  for (index i = 0; i < u.count; i += lanes) {
    const index n = tail(u.count, i);
    const vec g = scaled_gradient(u, i, n);
    const vec old_m = load_n(u.slots[0] + i, n), old_v = load_n(u.slots[1] + i, n);
    const vec m = fmadd(rest_1, g - old_m, old_m);
    vec v = fmadd(rest_2, g * g - old_v, old_v);
    store_n(u.slots[0] + i, m, n);
    store_n(u.slots[1] + i, v, n);
    if (u.amsgrad) {
      v = max(v, load_n(u.slots[2] + i, n));
      store_n(u.slots[2] + i, v, n);
    }
    store_n(u.parameter + i, decayed_parameter(u, i, n) - rate * m / (sqrt(v) + epsilon), n);
  }
}

// c = m + (1 - beta_1)(g - m);  p -= learning_rate * sign(c);  m += (1 - beta_2)(g - m)
void lion(const Update& u) {
  const vec rate = set1(u.learning_rate), rest_1 = set1(u.rest_1), rest_2 = set1(u.rest_2), zero = set1(0.0f);
  for (index i = 0; i < u.count; i += lanes) {
    const index n = tail(u.count, i);
    const vec m = load_n(u.slots[0] + i, n);
    const vec change = scaled_gradient(u, i, n) - m;
    const vec c = fmadd(rest_1, change, m);
    const vec sign = select_gt(c, zero, set1(1.0f), select_gt(zero, c, set1(-1.0f), c));  // 0 and NaN are their own
    store_n(u.slots[0] + i, fmadd(rest_2, change, m), n);
    store_n(u.parameter + i, decayed_parameter(u, i, n) - rate * sign, n);
  }
}

// mean += weight * (x - mean), which leaves a mean that is x as it is; a weight of 1 copies x exactly
void update_mean(index count, float weight, const float* x, float* mean) {
  for (index i = 0; i < count; i += lanes) {
    const index n = tail(count, i);
    const vec now = load_n(x + i, n), old = load_n(mean + i, n);
    store_n(mean + i, weight == 1.0f ? now : fmadd(set1(weight), now - old, old), n);
  }
}

}  // namespace
}  // namespace recurlm::kernels::RECURLM_KERNEL_ISA
