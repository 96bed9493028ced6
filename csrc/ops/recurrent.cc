#include "ops/recurrent.h"

#include <algorithm>
#include <optional>

#include "ops/gru_reset_before.h"

namespace recurlm {

namespace {

using CellKernel = void (*)(const kernels::CellTile&);

CellKernel forward_kernel(CellKind kind) {
  const auto& k = kernels::table();
  return kind == CellKind::rnn ? k.rnn_forward : kind == CellKind::gru ? k.gru_forward : k.lstm_forward;
}

CellKernel backward_kernel(CellKind kind) {
  const auto& k = kernels::table();
  return kind == CellKind::rnn ? k.rnn_backward : kind == CellKind::gru ? k.gru_backward : k.lstm_backward;
}

// h_t from h_{t-1}: a rectangle of (blocks of units, rows) is multiplied, then its gates are applied.
void forward_loop(Team& team, const CellRun& run, const PackedCell& weights) {
  const CellSpec& spec = run.spec;
  const CellKernel apply_gates = forward_kernel(spec.kind);
  const index batch = run.sequence.batch, granule = kernels::table().gemm_rows;
  const bool separate = spec.separate_recurrent_gates();
  const Panels& sums = separate ? run.saved.recurrent_gates : run.saved.gates;
  for (index i = 0; i < run.sequence.steps; ++i) {
    const index t = run.step(i);
    const Product product{run.prev_h(t), weights.recurrent_kernel,
                          {sums.at(0, t * batch), panel_width, run.recurrent_gate_targets},
                          separate ? Init::bias : Init::accumulate, weights.recurrent_bias};
    for_share(team, spec.blocks(), batch, granule, [&](index block, index blocks, index row, index rows) {
      multiply_rectangle(product, {row, rows, block * spec.block_panels(), blocks * spec.block_panels()});
      for (index b = block; b < block + blocks; ++b) apply_gates(run.tile(t, b, row, rows));
    });
    team.barrier();
  }
}

// The gradient of the sums, from the last step processed to the first: dh collects what step t + 1 left and the product of its
// gradients with the transposed recurrent weights. A last product gives the gradient of the initial state.
void backward_loop(Team& team, const CellRun& run, const SequenceGradients& gradients, const Panels& transposed,
                   const Column* unit_columns) {
  const CellSpec& spec = run.spec;
  const CellKernel gate_gradients = backward_kernel(spec.kind);
  const index batch = run.sequence.batch, granule = kernels::table().gemm_rows;
  const index blocks_per_panel = panel_width / spec.unit_block();
  const Panels& dgates = spec.separate_recurrent_gates() ? run.saved.recurrent_gates : run.saved.gates;
  for (index i = run.sequence.steps - 1; i >= -1 && run.sequence.steps > 0; --i) {
    const bool first = i == run.sequence.steps - 1;
    const index after = first ? 0 : run.step(i + 1);
    const Product product{Operand::packed(dgates.slice(after * batch, batch), transposed.rows), transposed,
                          {gradients.dh, spec.units, unit_columns}, Init::accumulate};
    for_share(team, transposed.panels, batch, granule, [&](index panel, index panels, index row, index rows) {
      if (!first) multiply_rectangle(product, {row, rows, panel, panels});
      if (i < 0) return;
      const index end = std::min((panel + panels) * blocks_per_panel, spec.blocks());
      for (index b = panel * blocks_per_panel; b < end; ++b)
        gate_gradients(run.tile(run.step(i), b, row, rows, gradients));
    });
    team.barrier();
  }
}

// How many threads a step of the time loop is worth.
int step_threads(const CellSpec& spec, const Sequence& sequence) {
  const auto products = static_cast<double>(spec.gates() * spec.units * (spec.input_dim + spec.units));
  return threads_for(2 * products * static_cast<double>(sequence.batch));
}

ConstMatrixView rows_of(const float* data, index rows, index cols) { return {data, rows, cols}; }

Panels pack_rows(Workspace::Frame& frame, ConstMatrixView matrix) {
  return frame.take_panels(matrix.rows, panels_of(matrix.cols));
}

}  // namespace

void run_forward(Team& team, const CellRun& run, const PackedCell& weights) {
  const Operand x = Operand::row_major(rows_of(run.sequence.x, run.sequence.rows(), run.spec.input_dim));
  multiply(team, {x, weights.kernel, {run.saved.gates.data, panel_width, run.gate_targets}, Init::bias, weights.bias});
  team.barrier();
  if (run.spec.two_phase())
    gru_reset_before_forward(team, run, weights);
  else
    forward_loop(team, run, weights);
}

void recurrent_forward(const CellSpec& spec, const CellWeights& weights, const Sequence& sequence,
                       Workspace& workspace) {
  Workspace::Frame frame(workspace);
  const PackedCell packed = take_packed_cell(frame, spec);
  const CellRun run(frame, spec, sequence);
  parallel(step_threads(spec, sequence), [&](Team& team) {
    pack_cell(team, spec, weights, packed);
    team.barrier();
    run_forward(team, run, packed);
  });
}

void recurrent_backward(const CellSpec& spec, const CellWeights& weights, const Sequence& sequence,
                        const SequenceGradients& gradients, const CellGradients& weight_gradients,
                        Workspace& workspace) {
  Workspace::Frame frame(workspace);
  const CellRun run(frame, spec, sequence);
  const index rows = sequence.rows();
  const Column* gate_columns = take_gate_columns(frame, spec);
  const Column* unit_columns = natural_columns(frame, spec.units);
  const Column* input_columns = natural_columns(frame, spec.input_dim);
  const index packed_gates = spec.panels() * panel_width;
  std::optional<GruResetBefore> reset_before;
  if (spec.two_phase()) reset_before.emplace(frame, run);
  const Panels recurrent_transposed =
      reset_before ? Panels{} : frame.take_panels(packed_gates, panels_of(spec.units));
  const Panels kernel_transposed =
      gradients.dx ? frame.take_panels(packed_gates, panels_of(spec.input_dim)) : Panels{};
  const auto x = rows_of(sequence.x, rows, spec.input_dim);
  const auto prev_h = rows_of(sequence.h + (sequence.reverse ? run.state_size() : 0), rows, spec.units);
  const Panels x_packed = weight_gradients.kernel ? pack_rows(frame, x) : Panels{};
  const Panels h_packed = weight_gradients.recurrent_kernel ? pack_rows(frame, prev_h) : Panels{};
  const Panels& input_gates = run.saved.gates;
  const Panels& state_gates = spec.separate_recurrent_gates() ? run.saved.recurrent_gates : run.saved.gates;
  const Init init = gradient_init(weight_gradients.accumulate);

  parallel(step_threads(spec, sequence), [&](Team& team) {
    if (reset_before)
      reset_before->pack(team, run, weights.recurrent_kernel);
    else
      pack_transposed(team, weights.recurrent_kernel, gate_columns, recurrent_transposed);
    if (gradients.dx) pack_transposed(team, weights.kernel, gate_columns, kernel_transposed);
    if (x_packed.data) pack(team, x, input_columns, x_packed);
    if (h_packed.data) pack(team, prev_h, unit_columns, h_packed);
    team.barrier();
    if (reset_before)
      reset_before->backward(team, run, gradients);
    else
      backward_loop(team, run, gradients, recurrent_transposed, unit_columns);
    if (gradients.dx)
      multiply(team, {Operand::packed(input_gates, packed_gates), kernel_transposed,
                      {gradients.dx, spec.input_dim, input_columns}});
    if (x_packed.data)
      multiply(team, {Operand::packed_transposed(x_packed, spec.input_dim), input_gates,
                      {weight_gradients.kernel.data, spec.gates() * spec.units, gate_columns}, init});
    if (h_packed.data && reset_before)
      reset_before->weight_gradients(team, run, h_packed, weight_gradients);
    else if (h_packed.data)
      multiply(team, {Operand::packed_transposed(h_packed, spec.units), state_gates,
                      {weight_gradients.recurrent_kernel.data, spec.gates() * spec.units, gate_columns}, init});
    if (weight_gradients.bias) {
      column_sums(team, input_gates, gate_columns, weight_gradients.accumulate, weight_gradients.bias);
      if (spec.separate_recurrent_gates())
        column_sums(team, state_gates, gate_columns, weight_gradients.accumulate,
                    weight_gradients.bias + spec.gates() * spec.units);
    }
  });
}

}  // namespace recurlm
