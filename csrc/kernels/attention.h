// Attention on a block of queries: softmax over the keys that each may see, and the scores of additive attention.
#pragma once

#include "kernels/elementwise.h"

namespace recurlm::kernels::RECURLM_KERNEL_ISA {
namespace {

RECURLM_INLINE index keys_before(const AttentionRows& a, index row) {
  const index query = a.first + row;
  return a.causal && query + 1 < a.keys ? query + 1 : a.keys;
}

// A query that is padding or sees no key at all, among the first `count`: such a row is uniform over all keys, as Keras has it,
// and constant.
RECURLM_INLINE bool sees_nothing(const AttentionRows& a, index row, index count) {
  if (count == 0 || (a.query_mask && !a.query_mask[row * a.query_mask_stride])) return true;
  if (!a.key_bias) return false;
  for (index s = 0; s < count; ++s)
    if (a.key_bias[s] == 0.0f) return false;
  return true;
}

RECURLM_INLINE void fill(index count, float value, float* y) {
  for (index i = 0; i < count; i += lanes) store_n(y + i, set1(value), tail(count, i));
}

// Scores become probabilities; those of keys that are not seen, 0.
void attention_softmax(const AttentionRows& a, float* p) {
  for (index r = 0; r < a.rows; ++r, p += a.keys) {
    const index count = keys_before(a, r);
    if (sees_nothing(a, r, count)) {
      fill(a.keys, 1.0f / static_cast<float>(a.keys), p);
      continue;
    }
    for (index i = 0; i < count; i += lanes) {
      const index n = tail(count, i);
      const vec bias = a.key_bias ? load_n(a.key_bias + i, n) : set1(0.0f);
      store_n(p + i, fmadd(load_n(p + i, n), set1(a.scale), bias), n);
    }
    softmax_forward(1, count, p, p);
    fill(a.keys - count, 0.0f, p + count);
  }
}

// dscores = scale * p * (dp - sum(dp * p)), in place of dp.
void attention_softmax_backward(const AttentionRows& a, const float* p, float* dp) {
  for (index r = 0; r < a.rows; ++r, p += a.keys, dp += a.keys) {
    const index count = keys_before(a, r);
    if (sees_nothing(a, r, count)) {
      fill(a.keys, 0.0f, dp);
      continue;
    }
    softmax_backward(1, count, p, dp, dp);
    for (index i = 0; i < count; i += lanes) {
      const index n = tail(count, i);
      store_n(dp + i, load_n(dp + i, n) * set1(a.scale), n);
    }
    fill(a.keys - count, 0.0f, dp + count);
  }
}

// scores[t, s] = sum over d of w[d] tanh(q[t, d] + k[s, d]), over ascending d.
void additive_scores(const AdditiveRows& a, const float* keys, index panel, float* scores, index scores_row) {
  for (index first = 0; first < a.keys; first += panel_width, keys += panel)
    for (index t = 0; t < a.rows; ++t)
      for (index l = 0; l < panel_width; l += lanes) {
        vec sum = set1(0.0f);
        for (index d = 0; d < a.dims; ++d) {
          const vec z = set1(a.query[t * a.query_row + d]) + load(keys + d * panel_width + l);
          sum = fmadd(set1(a.weights[d]), tanh(z), sum);
        }
        store_n(scores + t * scores_row + first + l, sum, tail(a.keys, first + l));
      }
}

// Adds to dkeys and dweights; dquery is written. The tanh is computed again: kept, it would be `dims` times as large as the scores.
void additive_backward(const AdditiveRows& a, const float* keys, index keys_row, const float* dscores, index dscores_row,
                       const AdditiveGradients& to) {
  for (index t = 0; t < a.rows; ++t)
    for (index d = 0; d < a.dims; d += lanes) {
      const index n = tail(a.dims, d);
      const vec q = load_n(a.query + t * a.query_row + d, n), w = load_n(a.weights + d, n);
      vec dq = set1(0.0f), dw = load_n(to.weights + d, n);
      for (index s = 0; s < a.keys; ++s) {
        const vec ds = set1(dscores[t * dscores_row + s]);
        const vec y = tanh(q + load_n(keys + s * keys_row + d, n));
        const vec dz = ds * w * tanh_gradient(y);
        float* dk = to.keys + s * keys_row + d;
        store_n(dk, load_n(dk, n) + dz, n);
        dq = dq + dz;
        dw = fmadd(ds, y, dw);
      }
      store_n(to.query + t * a.query_row + d, dq, n);
      store_n(to.weights + d, dw, n);
    }
}

}  // namespace
}  // namespace recurlm::kernels::RECURLM_KERNEL_ISA
