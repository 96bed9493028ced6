#include "infer/layer_stack.h"

#include <algorithm>

namespace recurlm {

namespace {

bool has_c(const CellSpec& spec) { return spec.kind == CellKind::lstm; }

// A state enters two products, and each thread needs all of its rows: that each quantises some for all is worth a barrier, but for
// one row.
bool shares_quantized(const PackedModel::Layer& layer, index steps, index batch) {
  return layer.recurrent_kernel.precision == Precision::int8 && steps == 1 && batch > 1;
}

}  // namespace

StreamStates::StreamStates(const PackedModel& model, index streams) {
  for (const PackedModel::Layer& layer : model.layers()) {
    const auto size = static_cast<std::size_t>(streams * layer.spec.units);
    h.emplace_back(size);
    c.emplace_back(has_c(layer.spec) ? size : 0);
  }
}

StreamStates StreamStates::select(index streams, const std::vector<index>& rows) const {
  const auto selected = [&](const std::vector<std::vector<float>>& layers) {
    std::vector<std::vector<float>> chosen(layers.size());
    for (std::size_t l = 0; l < layers.size(); ++l) {
      const auto size = static_cast<std::ptrdiff_t>(layers[l].size()) / std::max(streams, index{1});
      for (const index row : rows)
        chosen[l].insert(chosen[l].end(), layers[l].begin() + row * size, layers[l].begin() + (row + 1) * size);
    }
    return chosen;
  };
  StreamStates chosen;
  chosen.h = selected(h);
  chosen.c = selected(c);
  return chosen;
}

void StreamStates::replace(index streams, index row, const StreamStates& one) {
  const auto put = [&](std::vector<std::vector<float>>& to, const std::vector<std::vector<float>>& from) {
    for (std::size_t l = 0; l < to.size(); ++l) {
      const auto size = static_cast<std::ptrdiff_t>(to[l].size()) / streams;
      std::copy_n(from[l].begin(), size, to[l].begin() + row * size);
    }
  };
  put(h, one.h);
  put(c, one.c);
}

void StreamStates::append(const StreamStates& more) {
  const auto add = [](std::vector<std::vector<float>>& to, const std::vector<std::vector<float>>& from) {
    to.resize(from.size());
    for (std::size_t l = 0; l < from.size(); ++l) to[l].insert(to[l].end(), from[l].begin(), from[l].end());
  };
  add(h, more.h);
  add(c, more.c);
}

StackBuffers::StackBuffers(Workspace::Frame& frame, const PackedModel& model, index steps, index batch)
    : steps(steps),
      batch(batch),
      ids(frame.take<std::int32_t>(steps * batch)),
      mask(frame.take<unsigned char>(steps * batch)),
      x(model.table() ? nullptr : frame.take<float>(steps * batch * model.embedding().cols)) {
  std::fill_n(mask, steps * batch, static_cast<unsigned char>(1));
  index most_saved = 0;
  for (const PackedModel::Layer& layer : model.layers()) {
    const index size = (steps + 1) * batch * layer.spec.units;
    h.push_back(frame.take<float>(size));
    c.push_back(has_c(layer.spec) ? frame.take<float>(size) : nullptr);
    quantized.push_back(shares_quantized(layer, steps, batch) ? QuantizedRows::take(frame, batch, layer.spec.units)
                                                              : QuantizedRows());
    most_saved = std::max(most_saved, layer.spec.saved_size(steps, batch));
  }
  saved = frame.take<float>(most_saved);  // one for all: nothing goes backward
}

void StackBuffers::place_states(const PackedModel& model, const StreamStates& states, const std::int32_t* rows) const {
  for (std::size_t l = 0; l < h.size(); ++l) {
    const index units = model.layers()[l].spec.units;
    for (index b = 0; b < batch; ++b) {
      const index from = (rows ? rows[b] : b) * units;
      std::copy_n(states.h[l].data() + from, units, h[l] + b * units);
      if (c[l]) std::copy_n(states.c[l].data() + from, units, c[l] + b * units);
    }
  }
}

void StackBuffers::copy_states(const PackedModel& model, index slot, StreamStates& states) const {
  for (std::size_t l = 0; l < h.size(); ++l) {
    const index size = batch * model.layers()[l].spec.units;
    states.h[l].assign(h[l] + slot * size, h[l] + (slot + 1) * size);
    if (c[l]) states.c[l].assign(c[l] + slot * size, c[l] + (slot + 1) * size);
  }
}

void StackBuffers::place(const PackedModel& model, index r, std::int32_t id) const {
  ids[r] = id;
  if (x) model.embedding().expand_row(id, x + r * model.embedding().cols);
}

LayerStack::LayerStack(Workspace::Frame& frame, const PackedModel& model, const StackBuffers& buffers, int threads,
                       bool reverse) {
  const index positions = buffers.steps * buffers.batch;
  outputs_ = buffers.x;
  for (std::size_t l = 0; l < model.layers().size(); ++l) {
    const PackedModel::Layer& layer = model.layers()[l];
    const bool looked_up = l == 0 && model.table();
    Sequence sequence{buffers.steps, buffers.batch, {outputs_, positions, layer.spec.input_dim},
                      looked_up ? buffers.ids : nullptr, buffers.mask, reverse, buffers.h[l], buffers.c[l], buffers.saved};
    sequence.quantized_h = buffers.quantized[l];
    if (l > 0) sequence.quantized_x = buffers.quantized[l - 1];
    layers_.push_back({CellRun(frame, layer.spec, sequence, looked_up ? model.table() : nullptr),
                       layer.with_room(frame, threads)});
    outputs_ = buffers.h[l] + (reverse ? 0 : buffers.batch * layer.spec.units);
  }
}

void LayerStack::Bound::quantize_state(Team& team, index slot) const {
  const QuantizedRows& quantized = run.sequence.quantized_h;
  if (!quantized.data) return;
  quantize(team, {run.sequence.h + slot * run.state_size(), run.sequence.batch, run.spec.units}, quantized);
  team.barrier();
}

void LayerStack::run(Team& team, bool placed) const {
  for (const Bound& layer : layers_) {
    if (placed) layer.quantize_state(team, layer.run.prev_state(0));
    run_forward(team, layer.run, layer.weights);
    layer.quantize_state(team, layer.run.next_state(0));
  }
}

Operand LayerStack::output_rows(index row, index rows) const {
  const Bound& top = layers_.back();
  const index units = top.run.spec.units;
  return Operand::row_major({outputs_ + row * units, rows, units}, top.run.sequence.quantized_h.at(row));
}

const float* run_layers(Workspace::Frame& frame, const PackedModel& model, const StackBuffers& buffers) {
  const int threads = threads_for(model.recurrent_operations() * static_cast<double>(buffers.batch));
  const LayerStack stack(frame, model, buffers, threads);
  parallel(threads, [&](Team& team) { stack.run(team, true); });
  return stack.outputs();
}

}  // namespace recurlm
