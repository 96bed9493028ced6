// Attention: softmax(scores) V for each row of a batch and each head, with scores
//
//   scale * q . k                              (Vaswani et al. 2017, "Attention is all you need")
//   scale * sum over d of w_d tanh(q_d + k_d)  (Bahdanau et al. 2014) where `additive` is given
//
// A query sees the keys that are no padding and, where `causal`, do not come after it. One that is padding itself or sees none
// gets the mean of all values, as in Keras.
#pragma once

#include "base/workspace.h"
#include "ops/dropout.h"

namespace recurlm {

struct Attention {
  index queries, keys, batch, heads, key_dim, value_dim;  // T, S, B, N, K, V
  const float *query, *key, *value;                       // (T, B, N * K), (S, B, N * K), (S, B, N * V)
  const float* additive;                                  // (K), or null
  float scale;
  bool causal;
  const unsigned char *query_mask, *key_mask;  // (T, B), (S, B), or null; where 0, padding
  DropoutKey dropout;                          // of probabilities, in training; its rate may be 0
  float* probabilities;                        // (B, N, T, S), before dropout: kept for the backward pass

  index pairs() const { return batch * heads; }
};

struct AttentionGradients {
  const float* doutput;           // (T, B, N * V)
  float *dquery, *dkey, *dvalue;  // as query, key, value
  float* dadditive;               // (K), or null
};

void attention_forward(const Attention& attention, float* output, Workspace& workspace);
void attention_backward(const Attention& attention, const AttentionGradients& gradients, Workspace& workspace);

}  // namespace recurlm
