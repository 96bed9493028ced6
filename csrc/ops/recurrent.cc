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

Product input_product(const CellRun& run, const PackedCell& weights) {
  return {Operand::row_major(run.sequence.x, run.sequence.quantized_x), weights.kernel,
          {run.inputs.data, panel_width, run.input_targets}, Init::bias, weights.bias};
}

// A single step multiplies its inputs beside its states, which saves a barrier: a third of a decoding step of a small model.
bool multiplies_inputs_in_step(const CellRun& run, const PackedCell& weights) {
  return run.sequence.steps == 1 && !run.sequence.rows && !run.spec.two_phase() && !weights.kernel.room.data;
}

// Products by int8 add the inputs' part of the sums themselves, from where it lies.
bool adds_inputs(const CellRun& run, const PackedCell& weights) {
  return run.sequence.rows && !run.spec.separate_recurrent_gates() && weights.recurrent_kernel.precision() == Precision::int8;
}

// h_t from h_{t-1}: a rectangle of (blocks of units, rows) is multiplied, then its gates are applied.
void forward_loop(Team& team, const CellRun& run, const PackedCell& weights) {
  const CellSpec& spec = run.spec;
  const CellKernel apply_gates = forward_kernel(spec.kind);
  const index batch = run.sequence.batch, granule = kernels::table().gemm_rows;
  const bool separate = spec.separate_recurrent_gates();
  const Panels& sums = separate ? run.saved.recurrent_gates : run.saved.gates;
  const bool with_inputs = multiplies_inputs_in_step(run, weights), adds = adds_inputs(run, weights);
  const Init init = separate ? Init::bias : adds ? Init::rows : Init::accumulate;
  for (index i = 0; i < run.sequence.steps; ++i) {
    const index t = run.step(i);
    const Product product{run.prev_h(t), weights.recurrent_kernel,
                          {sums.at(0, t * batch), panel_width, run.recurrent_gate_targets},
                          init, weights.recurrent_bias, run.input_rows(t)};
    for_share(team, spec.blocks(), batch, granule, [&](index block, index blocks, index row, index rows) {
      const Rectangle at{row, rows, block * spec.block_panels(), blocks * spec.block_panels()};
      if (with_inputs)
        multiply_rectangle(team, input_product(run, weights), at);
      else if (!adds)
        run.place_inputs(t, block, blocks, row, rows);
      multiply_rectangle(team, product, at);
      for (index b = block; b < block + blocks; ++b) {
        const kernels::CellTile tile = run.tile(t, b, row, rows);
        apply_gates(tile);
        run.drop_state(i, b * spec.unit_block(), tile.units, row, rows);
      }
    });
    team.barrier();
  }
}

// The gradient of the sums, from the last step processed to the first: dh collects what step t + 1 left and the product of its
// gradients with the transposed recurrent weights. A last product gives the gradient of the initial state.
void backward_loop(Team& team, const CellRun& run, const SequenceGradients& gradients, const RightOperand& transposed,
                   const Column* unit_columns, float* room) {
  const CellSpec& spec = run.spec;
  const CellKernel gate_gradients = backward_kernel(spec.kind);
  const index batch = run.sequence.batch, granule = kernels::table().gemm_rows;
  const index blocks_per_panel = panel_width / spec.unit_block();
  const Panels& dgates = spec.separate_recurrent_gates() ? run.saved.recurrent_gates : run.saved.gates;
  for (index i = run.sequence.steps - 1; i >= -1 && run.sequence.steps > 0; --i) {
    const bool first = i == run.sequence.steps - 1;
    const index after = first ? 0 : run.step(i + 1);
    const Product product{Operand::packed(dgates.slice(after * batch, batch), transposed.packed.depth), transposed,
                          {gradients.dh, spec.units, unit_columns}, Init::accumulate};
    for_share(team, transposed.panels(), batch, granule, [&](index panel, index panels, index row, index rows) {
      if (!first) add_to_state_gradient(team, run, product, {row, rows, panel, panels}, room);
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

// Everything of a backward pass: what it takes from the workspace, and the arithmetic that each thread of a team shares.
class Backward {
 public:
  Backward(Workspace::Frame& frame, const CellSpec& spec, const CellWeights& weights, const Sequence& sequence,
           const SequenceGradients& gradients, const CellGradients& out, int threads);
  void operator()(Team& team) const;

 private:
  void pack_operands(const Team& team) const;
  Packable gates_as_depth(ConstMatrixView kernel) const;
  void weight_gradients(const Team& team) const;

  const CellSpec spec_;
  const CellWeights weights_;
  const SequenceGradients gradients_;
  const CellGradients out_;
  const ConstMatrixView x_, prev_h_;  // (R, D), (T * B, H) as it was multiplied
  const Column *gate_columns_, *unit_columns_, *input_columns_;
  const RightOperand kernel_transposed_, recurrent_transposed_;
  const Transposed x_transposed_, h_transposed_;  // (D, R), (H, T * B)
  // Behind the others, which are used to their end: that of its room for inputs that repeat is not, and is then no memory at all.
  const CellRun run_;
  float* state_room_;  // (B, H), where the state was dropped
  const Panels input_gates_, state_gates_;
  std::optional<GruResetBefore> reset_before_;
  RightOperand input_gates_right_, state_gates_right_;  // of the weight gradients
};

Backward::Backward(Workspace::Frame& frame, const CellSpec& spec, const CellWeights& weights, const Sequence& sequence,
                   const SequenceGradients& gradients, const CellGradients& out, int threads)
    : spec_(spec),
      weights_(weights),
      gradients_(gradients),
      out_(out),
      x_(sequence.x),
      prev_h_{sequence.dropped_h ? sequence.dropped_h : sequence.h + (sequence.reverse ? sequence.batch * spec.units : 0),
              sequence.positions(), spec.units},
      gate_columns_(take_gate_columns(frame, spec)),
      unit_columns_(natural_columns(frame, spec.units)),
      input_columns_(natural_columns(frame, spec.input_dim)),
      kernel_transposed_(gradients.dx ? RightOperand(frame, gates_as_depth(weights.kernel), spec.precision,
                                                     sequence.positions(), threads)
                                      : RightOperand()),
      recurrent_transposed_(spec.two_phase()
                                ? RightOperand()
                                : RightOperand::packed_whole(frame, gates_as_depth(weights.recurrent_kernel), spec.precision,
                                                             sequence.batch, threads)),
      x_transposed_(out.kernel ? take_transposed(frame, spec.precision, x_.cols, std::max(x_.rows, sequence.positions())).first(x_.rows)
                               : Transposed()),
      h_transposed_(out.recurrent_kernel ? take_transposed(frame, spec.precision, spec.units, sequence.positions()) : Transposed()),
      run_(frame, spec, sequence),
      state_room_(sequence.dropped_h ? frame.take<float>(run_.state_size()) : nullptr),
      input_gates_(run_.inputs),
      state_gates_(spec.separate_recurrent_gates() ? run_.saved.recurrent_gates : run_.saved.gates) {
  if (spec.two_phase()) reset_before_.emplace(frame, run_, weights.recurrent_kernel, state_room_, threads);
  if (out.kernel)
    input_gates_right_ =
        RightOperand::of_panels(frame, input_gates_, run_.input_targets, spec.precision, threads);
  if (out.recurrent_kernel && !spec.two_phase())
    state_gates_right_ =
        RightOperand::of_panels(frame, state_gates_, run_.recurrent_gate_targets, spec.precision, threads);
}

void Backward::operator()(Team& team) const {
  pack_operands(team);
  team.barrier();
  if (reset_before_)
    reset_before_->backward(team, run_, gradients_);
  else
    backward_loop(team, run_, gradients_, recurrent_transposed_, unit_columns_, state_room_);
  if (run_.sequence.rows) {
    sum_rows(team, run_.saved.gates, run_.sequence.rows, input_gates_);
    team.barrier();
  }
  if (gradients_.dx)
    multiply(team, {Operand::packed(input_gates_, kernel_transposed_.source.depth), kernel_transposed_,
                    {gradients_.dx, x_.cols, input_columns_}});
  weight_gradients(team);
}

void Backward::pack_operands(const Team& team) const {
  if (reset_before_)
    reset_before_->prepare(team, run_);
  else
    recurrent_transposed_.prepare(team);
  if (gradients_.dx) kernel_transposed_.prepare(team);
  if (out_.kernel) transpose(team, x_, x_transposed_);
  if (out_.recurrent_kernel) transpose(team, prev_h_, h_transposed_);
}

// A kernel (N, G * H) as the right operand (G * H, N), its gates in packed order.
Packable Backward::gates_as_depth(ConstMatrixView kernel) const {
  return Packable::rows_of(kernel, gate_columns_, 2 * spec_.panels());
}

void Backward::weight_gradients(const Team& team) const {
  const index gates = spec_.gates() * spec_.units;
  const Init init = gradient_init(out_.accumulate);
  if (out_.kernel)
    multiply(team, {Operand::transposed(x_transposed_), input_gates_right_,
                    {out_.kernel.data, gates, gate_columns_}, init});
  if (out_.recurrent_kernel && reset_before_)
    reset_before_->weight_gradients(team, run_, h_transposed_, out_);
  else if (out_.recurrent_kernel)
    multiply(team, {Operand::transposed(h_transposed_), state_gates_right_,
                    {out_.recurrent_kernel.data, gates, gate_columns_}, init});
  if (!out_.bias) return;
  column_sums(team, input_gates_, gate_columns_, out_.accumulate, out_.bias);
  if (spec_.separate_recurrent_gates())
    column_sums(team, state_gates_, gate_columns_, out_.accumulate, out_.bias + gates);
}

}  // namespace

void multiply_inputs(const Team& team, const CellRun& run, const PackedCell& weights) {
  multiply(team, input_product(run, weights));
}

void drop_initial_state(const Team& team, const CellRun& run) {
  const Range share = team.share(run.sequence.batch);
  run.drop_state(-1, 0, run.spec.units, share.begin, share.end - share.begin);
}

void add_to_state_gradient(const Team& team, const CellRun& run, const Product& product, const Rectangle& at, float* room) {
  if (!run.sequence.dropped_h) return multiply_rectangle(team, product, at);
  Product undropped = product;
  undropped.c.data = room;
  undropped.init = Init::zero;
  multiply_rectangle(team, undropped, at);
  const index units = run.spec.units, unit = at.panel * panel_width, first = at.row * units + unit;
  kernels::table().multiply_add_rows(at.rows, std::min(at.panels * panel_width, units - unit), room + first,
                                     run.sequence.state_factors + first, product.c.data + first, units);
}

void run_forward(Team& team, const CellRun& run, const PackedCell& weights) {
  if (!run.inputs_known && !multiplies_inputs_in_step(run, weights)) {
    multiply_inputs(team, run, weights);
    team.barrier();
  }
  if (run.spec.two_phase())
    gru_reset_before_forward(team, run, weights);
  else
    forward_loop(team, run, weights);
}

void recurrent_forward(const CellSpec& spec, const CellWeights& weights, const Sequence& sequence,
                       Workspace& workspace) {
  Workspace::Frame frame(workspace);
  const int threads = step_threads(spec, sequence);
  const Column* columns = take_gate_columns(frame, spec);
  const auto packable = [&](ConstMatrixView kernel) { return Packable::columns_of(kernel, columns, spec.panels()); };
  const PackedCell packed{
      columns,
      RightOperand(frame, packable(weights.kernel), spec.precision, sequence.positions(), threads),
      RightOperand::packed_whole(frame, packable(weights.recurrent_kernel), spec.precision, sequence.batch, threads),
      frame.take<float>(spec.panels() * panel_width),
      frame.take<float>(spec.panels() * panel_width)};
  const CellRun run(frame, spec, sequence);
  parallel(threads, [&](Team& team) {
    packed.kernel.prepare(team);
    packed.recurrent_kernel.prepare(team);
    pack_cell_biases(team, spec, weights.bias, packed);
    drop_initial_state(team, run);
    team.barrier();
    run_forward(team, run, packed);
  });
}

void recurrent_backward(const CellSpec& spec, const CellWeights& weights, const Sequence& sequence,
                        const SequenceGradients& gradients, const CellGradients& weight_gradients,
                        Workspace& workspace) {
  Workspace::Frame frame(workspace);
  const int threads = step_threads(spec, sequence);
  parallel(threads, Backward(frame, spec, weights, sequence, gradients, weight_gradients, threads));
}

}  // namespace recurlm
