// Layer normalisation of rows (Ba, Kiros, Hinton 2016).
#pragma once

#include "kernels/math.h"

namespace recurlm::kernels::RECURLM_KERNEL_ISA {
namespace {

// The first n lanes; zeros behind them.
RECURLM_INLINE vec only(vec a, index n) {
  if (n == lanes) return a;
  float x[lanes] = {};
  store_n(x, a, n);
  return load(x);
}

// y = gamma (x - mean) / sqrt(variance + epsilon) + beta; gamma and beta may be null. statistics: mean and the inverse
// of the root, for each row.
void layer_norm_forward(const LayerNorm& l, const float* x, const float* beta, float epsilon, float* y, float* statistics) {
  const vec one = set1(1.0f), zero = set1(0.0f);
  const float width = static_cast<float>(l.cols);
  for (index r = 0; r < l.rows; ++r, x += l.cols, y += l.cols, statistics += 2) {
    vec total = zero;
    for (index i = 0; i < l.cols; i += lanes) total = total + load_n(x + i, tail(l.cols, i));
    const vec mean = set1(sum(total) / width);
    total = zero;
    for (index i = 0; i < l.cols; i += lanes) {
      const index n = tail(l.cols, i);
      const vec difference = only(load_n(x + i, n) - mean, n);
      total = fmadd(difference, difference, total);
    }
    const vec inverse = one / sqrt(set1(sum(total) / width + epsilon));
    for (index i = 0; i < l.cols; i += lanes) {
      const index n = tail(l.cols, i);
      const vec scale = l.gamma ? load_n(l.gamma + i, n) : one, shift = beta ? load_n(beta + i, n) : zero;
      store_n(y + i, fmadd((load_n(x + i, n) - mean) * inverse, scale, shift), n);
    }
    store_n(statistics, mean, 1);
    store_n(statistics + 1, inverse, 1);
  }
}

// dx = inverse (g - mean(g) - n mean(g n)), where n is the normalised x and g = gamma dy. Adds to dgamma and dbeta; dx may be dy.
void layer_norm_backward(const LayerNorm& l, const float* x, const float* statistics, const float* dy, float* dx, float* dgamma,
                         float* dbeta) {
  const vec width = set1(static_cast<float>(l.cols));
  for (index r = 0; r < l.rows; ++r, x += l.cols, dy += l.cols, dx += l.cols, statistics += 2) {
    const vec mean = set1(statistics[0]), inverse = set1(statistics[1]);
    vec along_one = set1(0.0f), along_x = set1(0.0f);
    for (index i = 0; i < l.cols; i += lanes) {
      const index n = tail(l.cols, i);
      const vec d = load_n(dy + i, n), normal = (load_n(x + i, n) - mean) * inverse;
      const vec g = l.gamma ? d * load_n(l.gamma + i, n) : d;
      along_one = along_one + g;
      along_x = fmadd(g, only(normal, n), along_x);
      store_n(dgamma + i, fmadd(d, normal, load_n(dgamma + i, n)), n);
      store_n(dbeta + i, load_n(dbeta + i, n) + d, n);
    }
    const vec g_mean = set1(sum(along_one)) / width, gx_mean = set1(sum(along_x)) / width;
    for (index i = 0; i < l.cols; i += lanes) {
      const index n = tail(l.cols, i);
      const vec d = load_n(dy + i, n), normal = (load_n(x + i, n) - mean) * inverse;
      const vec g = l.gamma ? d * load_n(l.gamma + i, n) : d;
      store_n(dx + i, inverse * (g - g_mean - normal * gx_mean), n);
    }
  }
}

}  // namespace
}  // namespace recurlm::kernels::RECURLM_KERNEL_ISA
