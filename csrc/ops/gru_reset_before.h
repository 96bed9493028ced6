// The GRU whose reset gate acts before the recurrent product (reset_after = False; Cho et al. 2014):
//
//   z, r = sigmoid(W x + U prev_h + b)    n = tanh(W_n x + U_n (r * prev_h) + b_n)    h = z * prev_h + (1 - z) * n
//
// The candidate's product needs r of all units, so a step has two products with a barrier between them.
#pragma once

#include "ops/recurrent.h"

namespace recurlm {

void gru_reset_before_forward(Team& team, const CellRun& run, const PackedCell& weights);

// Backward keeps each gate's transposed weights apart, since z and r meet prev_h and n meets r * prev_h.
class GruResetBefore {
 public:
  GruResetBefore(Workspace::Frame& frame, const CellRun& run, ConstMatrixView recurrent_kernel, float* room, int threads);

  void prepare(const Team& team, const CellRun& run) const;
  void backward(Team& team, const CellRun& run, const SequenceGradients& gradients) const;
  void weight_gradients(const Team& team, const CellRun& run, const Transposed& prev_h, const CellGradients& out) const;

 private:
  const Column* columns_[3];      // of z, r, n in a row of 3 H
  const Column* unit_columns_;
  RightOperand transposed_[3];    // (units padded, H)
  RightOperand gates_[3];         // (T * B, H), of the weight gradients
  Transposed reset_h_;            // (H, T * B)
  float* dreset_h_;               // (B, H)
  float* room_;                   // of add_to_state_gradient
};

}  // namespace recurlm
