#include "ops/gru_reset_before.h"

namespace recurlm {

namespace {

enum Gate { z, r, n, gates };

Panels gate_panels(const Panels& all, int gate) {
  return {all.data + gate * all.stride, all.rows, all.panels / gates, gates * all.stride};
}

}  // namespace

void gru_reset_before_forward(Team& team, const CellRun& run, const PackedCell& weights) {
  const auto& k = kernels::table();
  const index batch = run.sequence.batch, units = run.spec.units;
  for (index i = 0; i < run.sequence.steps; ++i) {
    const index t = run.step(i);
    Product product{run.prev_h(t), weights.recurrent_kernel,
                    {run.saved.gates.at(0, t * batch), panel_width, run.gate_targets}, Init::accumulate};
    for_share(team, run.spec.blocks(), batch, k.gemm_rows, [&](index block, index blocks, index row, index rows) {
      run.place_inputs(t, block, blocks, row, rows);
      const Product part = rows_of(team, product, row, rows);
      for (index b = block; b < block + blocks; ++b) {
        multiply_rectangle(team, part, {0, rows, b * gates + z, 2});
        kernels::CellTile tile = run.tile(t, b, row, rows);
        tile.prev_h = run.prev_h(t).data + row * units + b * run.spec.unit_block();
        k.gru_reset_forward(tile);
      }
    });
    team.barrier();
    product.a = Operand::row_major({run.saved.reset_h + t * run.state_size(), batch, units});
    for_share(team, run.spec.blocks(), batch, k.gemm_rows, [&](index block, index blocks, index row, index rows) {
      const Product part = rows_of(team, product, row, rows);
      for (index b = block; b < block + blocks; ++b) {
        multiply_rectangle(team, part, {0, rows, b * gates + n, 1});
        const kernels::CellTile tile = run.tile(t, b, row, rows);
        k.gru_candidate_forward(tile);
        run.drop_state(i, b * run.spec.unit_block(), tile.units, row, rows);
      }
    });
    team.barrier();
  }
}

GruResetBefore::GruResetBefore(Workspace::Frame& frame, const CellRun& run, ConstMatrixView recurrent_kernel, float* room,
                               int threads)
    : unit_columns_(natural_columns(frame, run.spec.units)),
      reset_h_(take_transposed(frame, run.spec.precision, run.spec.units, run.sequence.positions())),
      dreset_h_(frame.take<float>(run.state_size())),
      room_(room) {
  const index blocks = run.spec.blocks();
  for (int gate = z; gate < gates; ++gate) {
    auto* columns = frame.take<Column>(2 * blocks);
    for (index q = 0; q < 2 * blocks; ++q)
      columns[q] = {gate * run.spec.units + unit_columns_[q].offset, unit_columns_[q].width};
    columns_[gate] = columns;
    const Packable transposed = Packable::rows_of(recurrent_kernel, columns, 2 * blocks);
    transposed_[gate] =
        RightOperand::packed_whole(frame, transposed, run.spec.precision, run.sequence.batch, threads);
    const Panels gradient = gate_panels(run.saved.gates, gate);
    gates_[gate] = RightOperand::of_panels(frame, gradient, packed_columns(frame, gradient), run.spec.precision,
                                           threads);
  }
}

void GruResetBefore::prepare(const Team& team, const CellRun& run) const {
  for (const RightOperand& transposed : transposed_) transposed.prepare(team);
  const ConstMatrixView reset_h{run.saved.reset_h, run.sequence.positions(), run.spec.units};
  transpose(team, reset_h, reset_h_);
}

void GruResetBefore::backward(Team& team, const CellRun& run, const SequenceGradients& gradients) const {
  const auto& k = kernels::table();
  const index batch = run.sequence.batch, units = run.spec.units, blocks = run.spec.blocks();
  const auto gradient_of = [&](int gate, index t) {
    return Operand::packed(gate_panels(run.saved.gates, gate).slice(t * batch, batch), blocks * panel_width);
  };
  const Target dh{gradients.dh, units, unit_columns_}, dreset_h{dreset_h_, units, unit_columns_};
  for (index i = run.sequence.steps - 1; i >= -1 && run.sequence.steps > 0; --i) {
    const bool last = i == run.sequence.steps - 1;
    const index t = i < 0 ? 0 : run.step(i), after = last ? t : run.step(i + 1);
    for_share(team, blocks, batch, k.gemm_rows, [&](index block, index count, index row, index rows) {
      for (int gate = z; gate <= r && !last; ++gate)
        add_to_state_gradient(team, run, {gradient_of(gate, after), transposed_[gate], dh, Init::accumulate},
                              {row, rows, block, count}, room_);
      for (index b = block; b < block + count && i >= 0; ++b)
        k.gru_candidate_backward(run.tile(t, b, row, rows, gradients));
    });
    team.barrier();
    if (i < 0) return;
    for_share(team, blocks, batch, k.gemm_rows, [&](index block, index count, index row, index rows) {
      multiply_rectangle(team, {gradient_of(n, t), transposed_[n], dreset_h}, {row, rows, block, count});
      for (index b = block; b < block + count; ++b) {
        kernels::CellTile tile = run.tile(t, b, row, rows, gradients);
        const index at = row * units + b * run.spec.unit_block();
        tile.reset_h = dreset_h_ + at;
        if (run.sequence.dropped_h)
          k.multiply_rows(rows, tile.units, tile.reset_h, run.sequence.state_factors + at, tile.reset_h, units);
        k.gru_reset_backward(tile);
      }
    });
    team.barrier();
  }
}

void GruResetBefore::weight_gradients(const Team& team, const CellRun& run, const Transposed& prev_h,
                                      const CellGradients& out) const {
  for (int gate = z; gate < gates; ++gate)
    multiply(team, {Operand::transposed(gate == n ? reset_h_ : prev_h),
                    gates_[gate],
                    {out.recurrent_kernel.data, gates * run.spec.units, columns_[gate]},
                    gradient_init(out.accumulate)});
}

}  // namespace recurlm
