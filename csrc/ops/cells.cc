// What distinguishes the cells: how gates are laid out in panels, and how weights are packed for them.
#include <algorithm>
#include <cstring>

#include "ops/recurrent.h"

namespace recurlm {

index CellSpec::gates() const { return kind == CellKind::rnn ? 1 : kind == CellKind::gru ? 3 : 4; }
index CellSpec::unit_block() const { return kind == CellKind::lstm ? half_width : panel_width; }
index CellSpec::block_panels() const { return gates() * unit_block() / panel_width; }

index CellSpec::saved_size(index steps, index batch) const {
  const index gate_size = Panels::size(steps * batch, panels());
  if (two_phase()) return gate_size + steps * batch * units;
  return separate_recurrent_gates() ? 2 * gate_size : gate_size;
}

namespace {

// Where half panel q of the packed gates comes from in a row of G * H columns.
Column gate_column(const CellSpec& spec, index q) {
  const index block = q / (2 * spec.block_panels()), within = q % (2 * spec.block_panels());
  // lstm: the halves of a block are its gates; else each gate has a panel, two halves.
  const bool lstm = spec.kind == CellKind::lstm;
  const index gate = lstm ? within : within / 2;
  const index unit = block * spec.unit_block() + (lstm ? 0 : within % 2 * half_width);
  return {gate * spec.units + unit, std::clamp(spec.units - unit, index{0}, half_width)};
}

// Room for `rows` that repeat over `positions`: as much whatever their number, so that a later batch needs no more.
Panels take_repeating_rows(Workspace::Frame& frame, index rows, index positions, index panels) {
  const Panels room = frame.take_panels(std::max(rows, positions), panels);
  return {room.data, rows, panels, rows * panel_width};
}

}  // namespace

const Column* take_gate_columns(Workspace::Frame& frame, const CellSpec& spec) {
  auto* columns = frame.take<Column>(2 * spec.panels());
  for (index q = 0; q < 2 * spec.panels(); ++q) columns[q] = gate_column(spec, q);
  return columns;
}

void pack_cell_biases(const Team& team, const CellSpec& spec, const float* bias, const PackedCell& packed) {
  pack_bias(team, bias, packed.columns, spec.panels(), 0.0f, packed.bias);
  const float* recurrent_bias = bias && spec.separate_recurrent_gates() ? bias + spec.gates() * spec.units : nullptr;
  pack_bias(team, recurrent_bias, packed.columns, spec.panels(), 0.0f, packed.recurrent_bias);
}

SavedGates::SavedGates(const CellSpec& spec, const Sequence& sequence) {
  const index rows = sequence.positions(), stride = rows * panel_width;
  gates = {sequence.saved, rows, spec.panels(), stride};
  float* behind = sequence.saved + Panels::size(rows, spec.panels());
  recurrent_gates = spec.separate_recurrent_gates() ? Panels{behind, rows, spec.panels(), stride} : Panels{};
  reset_h = spec.two_phase() ? behind : nullptr;
}

CellRun::CellRun(Workspace::Frame& frame, const CellSpec& spec_, const Sequence& sequence_, const Panels* table)
    : spec(spec_),
      sequence(sequence_),
      saved(spec, sequence),
      inputs(table           ? *table
             : sequence.rows ? take_repeating_rows(frame, sequence.x.rows, sequence.positions(), spec.panels())
                             : saved.gates),
      inputs_known(table != nullptr),
      gate_targets(packed_columns(frame, saved.gates)),
      recurrent_gate_targets(spec.separate_recurrent_gates() ? packed_columns(frame, saved.recurrent_gates)
                                                             : gate_targets),
      input_targets(sequence.rows ? packed_columns(frame, inputs) : gate_targets) {}

Operand CellRun::prev_h(index t) const {
  const float* h = sequence.dropped_h ? sequence.dropped_h + t * state_size() : sequence.h + prev_state(t) * state_size();
  return Operand::row_major({h, sequence.batch, spec.units}, sequence.quantized_h);
}

void CellRun::drop_state(index i, index unit, index units, index row, index rows) const {
  if (!sequence.dropped_h || i + 1 >= sequence.steps) return;
  const index t = step(i + 1), at = row * spec.units + unit;
  kernels::table().multiply_rows(rows, units, sequence.h + prev_state(t) * state_size() + at, sequence.state_factors + at,
                                 sequence.dropped_h + t * state_size() + at, spec.units);
}

void CellRun::place_inputs(index t, index block, index blocks, index row, index rows) const {
  if (!sequence.rows) return;
  const index position = t * sequence.batch + row;
  const std::int32_t* from = sequence.rows + position;
  for (index p = block * spec.block_panels(); p < (block + blocks) * spec.block_panels(); ++p)
    for (index r = 0; r < rows; ++r)
      std::memcpy(saved.gates.at(p, position + r), inputs.at(p, from[r]), panel_width * sizeof(float));
}

kernels::CellTile CellRun::tile(index t, index block, index row, index rows) const {
  const index unit = block * spec.unit_block(), at = row * spec.units + unit;
  const index prev = prev_state(t) * state_size() + at, next = next_state(t) * state_size() + at;
  const index saved_row = t * sequence.batch + row;
  kernels::CellTile tile{};
  tile.rows = rows;
  tile.units = std::min(spec.unit_block(), spec.units - unit);
  tile.gates = saved.gates.at(block * spec.block_panels(), saved_row);
  tile.gates_panel = saved.gates.stride;
  if (saved.recurrent_gates.data) {
    tile.recurrent_gates = saved.recurrent_gates.at(block * spec.block_panels(), saved_row);
    tile.recurrent_gates_panel = saved.recurrent_gates.stride;
  }
  tile.prev_h = sequence.h + prev;
  tile.h = sequence.h + next;
  if (sequence.c) {
    tile.prev_c = sequence.c + prev;
    tile.c = sequence.c + next;
  }
  if (saved.reset_h) tile.reset_h = saved.reset_h + t * state_size() + at;
  tile.ld = spec.units;
  tile.mask = sequence.mask ? sequence.mask + saved_row : nullptr;
  tile.activation = spec.activation;
  return tile;
}

kernels::CellTile CellRun::tile(index t, index block, index row, index rows,
                                const SequenceGradients& gradients) const {
  kernels::CellTile tile = this->tile(t, block, row, rows);
  const index at = row * spec.units + block * spec.unit_block();
  tile.dy = gradients.dy ? gradients.dy + t * state_size() + at : nullptr;
  tile.dh = gradients.dh + at;
  tile.dc = gradients.dc ? gradients.dc + at : nullptr;
  return tile;
}

}  // namespace recurlm
