// Recurrent cells over a sequence: simple RNN, GRU (both variants) and LSTM share one driver, which owns the time loop.
//
// Input products, input gradients and weight gradients are batched over time. A step of the loop gives each thread a fixed
// range of units with all their gates, so that the gate arithmetic follows the product while its tile is in the cache, and
// ends with one barrier.
#pragma once

#include "ops/gemm.h"

namespace recurlm {

enum class CellKind { rnn, gru, lstm };

struct CellSpec {
  CellKind kind;
  index input_dim, units;
  kernels::Activation activation = kernels::Activation::tanh;  // rnn
  bool reset_after = true;                                     // gru
  Precision precision = Precision::float32;  // of the operands of products: float32 or bfloat16

  index gates() const;
  index unit_block() const;        // units whose gates lie together in a whole number of panels
  index block_panels() const;      // that number
  index blocks() const { return ceil_div(units, unit_block()); }
  index panels() const { return blocks() * block_panels(); }
  bool two_phase() const { return kind == CellKind::gru && !reset_after; }
  bool separate_recurrent_gates() const { return kind == CellKind::gru && reset_after; }
  index saved_size(index steps, index batch) const;
};

// Keras layout: kernel (D, G * H), recurrent_kernel (H, G * H), bias (G * H) or null; a gru with reset_after has a second bias.
struct CellWeights {
  ConstMatrixView kernel, recurrent_kernel;
  const float* bias;
};

struct CellGradients {
  MatrixView kernel, recurrent_kernel;  // each may be empty
  float* bias;
  bool accumulate;
};

// The weights as operands of products.
struct PackedCell {
  const Column* columns;  // where in G * H the packed gates lie
  RightOperand kernel, recurrent_kernel;
  float* bias;
  float* recurrent_bias;
};

struct Sequence {
  index steps, batch;
  ConstMatrixView x;         // (T * B, D), or with `rows` any (R, D)
  const std::int32_t* rows;  // (T, B) which row of x stands at each position, or null: rows that repeat are multiplied once
  const unsigned char* mask;  // (T, B) or null
  bool reverse;
  float* h;      // (T + 1, B, H)
  float* c;      // the same; lstm
  float* saved;  // spec.saved_size(T, B)
  // Recurrent dropout: (B, H) by which the previous state is multiplied where it enters a product, and nowhere else; or null.
  const float* state_factors = nullptr;
  float* dropped_h = nullptr;  // (T, B, H) what entered them; with factors only
  // Of a single step: x and the state before it once more, where they are quantised already.
  QuantizedRows quantized_x{}, quantized_h{};

  index positions() const { return steps * batch; }
};

struct SequenceGradients {
  const float* dy;  // (T, B, H) or null
  float* dh;        // (B, H)
  float* dc;        // (B, H); lstm
  float* dx;        // of x's shape, or null
};

const Column* take_gate_columns(Workspace::Frame& frame, const CellSpec& spec);
void pack_cell_biases(const Team& team, const CellSpec& spec, const float* bias, const PackedCell& packed);

// What forward keeps for backward, as views of Sequence::saved.
struct SavedGates {
  SavedGates(const CellSpec& spec, const Sequence& sequence);

  Panels gates;            // activations; backward turns them into gradients of the sums
  Panels recurrent_gates;  // gru with reset_after: the state's part of the sums, else empty
  float* reset_h;          // gru without: r * prev_h (T, B, H), else null
};

// One sequence on its way through the time loop.
struct CellRun {
  // `table`: the inputs' part of the sums for every row that may stand in the sequence, computed beforehand, or null.
  CellRun(Workspace::Frame& frame, const CellSpec& spec, const Sequence& sequence, const Panels* table = nullptr);

  index prev_state(index t) const { return sequence.reverse ? t + 1 : t; }
  index next_state(index t) const { return sequence.reverse ? t : t + 1; }
  // The step that is i-th in processing order.
  index step(index i) const { return sequence.reverse ? sequence.steps - 1 - i : i; }
  index state_size() const { return sequence.batch * spec.units; }
  Operand prev_h(index t) const;  // of a product
  // Makes it of the state that the i-th step in processing order left, or of the initial one where i is -1.
  void drop_state(index i, index unit, index units, index row, index rows) const;
  // The input's part of the sums where equal inputs share it: where it is, and brought from there to a tile of the saved gates.
  InitialRows input_rows(index t) const { return InitialRows{inputs, sequence.rows}.at(t * sequence.batch); }
  void place_inputs(index t, index block, index blocks, index row, index rows) const;
  kernels::CellTile tile(index t, index block, index row, index rows) const;
  kernels::CellTile tile(index t, index block, index row, index rows, const SequenceGradients& gradients) const;

  const CellSpec spec;
  const Sequence sequence;
  const SavedGates saved;
  const Panels inputs;  // of the sums, the input's part: the saved gates themselves or, where rows repeat, (R, G * H)
  const bool inputs_known;
  const Column *gate_targets, *recurrent_gate_targets, *input_targets;  // column maps into gates and inputs
};

// The input's part of the sums for every row of the sequence's x. Whoever reads it waits at a barrier first.
void multiply_inputs(const Team& team, const CellRun& run, const PackedCell& weights);
// This thread's share of what the first step multiplies. Whoever reads it waits at a barrier first.
void drop_initial_state(const Team& team, const CellRun& run);
// A rectangle of dh += a product; `room` (B, H) is used where the state was dropped.
void add_to_state_gradient(const Team& team, const CellRun& run, const Product& product, const Rectangle& at, float* room);
// The arithmetic of a sequence with packed weights. Every thread of the team calls it; it ends with a barrier.
void run_forward(Team& team, const CellRun& run, const PackedCell& weights);

void recurrent_forward(const CellSpec& spec, const CellWeights& weights, const Sequence& sequence, Workspace& workspace);
void recurrent_backward(const CellSpec& spec, const CellWeights& weights, const Sequence& sequence,
                        const SequenceGradients& gradients, const CellGradients& weight_gradients,
                        Workspace& workspace);

}  // namespace recurlm
