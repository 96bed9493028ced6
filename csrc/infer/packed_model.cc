#include "infer/packed_model.h"

#include <algorithm>
#include <atomic>
#include <cstring>

namespace recurlm {

namespace {

// A larger table would push weights out of the caches for what a small product costs.
constexpr index largest_table = index{8} << 20;  // bytes

std::uint64_t next_id() {
  static std::atomic<std::uint64_t> last{0};
  return ++last;
}

}  // namespace

PackedCell PackedModel::Layer::with_room(Workspace::Frame& frame, int threads) const {
  return {columns, RightOperand(frame, kernel, threads), RightOperand(frame, recurrent_kernel, threads), bias, recurrent_bias};
}

PackedModel::PackedModel(const StoredMatrix& embedding, const std::vector<ModelLayer>& layers,
                         const ModelProjection& projection)
    : id_(next_id()),
      classes_(projection.outputs()),
      projection_(take_weights(frame_, projection.kernel.precision, projection.inputs(), panels_of(classes_))),
      projection_bias_(frame_.take<float>(panels_of(classes_) * panel_width)) {
  copy_embedding(embedding);
  for (const ModelLayer& layer : layers) {
    const CellSpec& spec = layer.spec;
    const index width = spec.panels() * panel_width;
    layers_.push_back({spec, take_gate_columns(frame_, spec),
                       take_weights(frame_, layer.kernel.precision, spec.input_dim, spec.panels()),
                       take_weights(frame_, layer.recurrent_kernel.precision, spec.units, spec.panels()),
                       frame_.take<float>(width), frame_.take<float>(width)});
  }
  pack(layers, projection);
  make_table();
}

void PackedModel::copy_embedding(const StoredMatrix& embedding) {
  embedding_ = embedding;
  const auto bytes = static_cast<index>(embedding.nbytes());
  embedding_.data = std::memcpy(frame_.take<std::byte>(bytes), embedding.data, static_cast<std::size_t>(bytes));
  if (!embedding.scales) return;
  auto* scales = frame_.take<float>(embedding.rows);
  std::copy_n(embedding.scales, embedding.rows, scales);
  embedding_.scales = scales;
}

void PackedModel::pack(const std::vector<ModelLayer>& layers, const ModelProjection& projection) {
  Workspace workspace;
  Workspace::Frame frame(workspace);
  const StoredMatrix& kernel = projection.kernel;
  const Column *columns = natural_columns(frame, kernel.cols), *output_columns = natural_columns(frame, classes_);
  parallel(threads_for(static_cast<double>(storage_.nbytes())), [&](Team& team) {
    projection.transposed ? pack_rows(team, kernel, columns, projection_) : pack_columns(team, kernel, columns, projection_);
    pack_bias(team, projection.bias, output_columns, projection_.panels, 0.0f, projection_bias_);
    for (std::size_t l = 0; l < layers.size(); ++l) {
      const Layer& to = layers_[l];
      pack_columns(team, layers[l].kernel, to.columns, to.kernel);
      pack_columns(team, layers[l].recurrent_kernel, to.columns, to.recurrent_kernel);
      pack_cell_biases(team, to.spec, layers[l].bias, {to.columns, {}, {}, to.bias, to.recurrent_bias});
    }
  });
}

// The product that a step would have formed, for each token.
void PackedModel::make_table() {
  const Layer& first = layers_.front();
  const index rows = embedding_.rows, width = embedding_.cols;
  if (Panels::size(rows, first.spec.panels()) * static_cast<index>(sizeof(float)) > largest_table) return;
  table_ = frame_.take_panels(rows, first.spec.panels());
  Workspace workspace;
  Workspace::Frame frame(workspace);
  auto* x = frame.take<float>(rows * width);
  for (index r = 0; r < rows; ++r) embedding_.expand_row(r, x + r * width);
  const int threads = threads_for(2.0 * static_cast<double>(rows * width) * static_cast<double>(table_.panels * panel_width));
  const Product product{Operand::row_major({x, rows, width}), RightOperand(frame, first.kernel, threads),
                        {table_.data, panel_width, packed_columns(frame, table_)}, Init::bias, first.bias};
  parallel(threads, [&](Team& team) { multiply(team, product); });
}

std::size_t PackedModel::read_bytes() const {
  std::size_t bytes = projection_.read_bytes();
  for (const Layer& layer : layers_) bytes += layer.kernel.read_bytes() + layer.recurrent_kernel.read_bytes();
  if (!table_.data) return bytes + embedding_.nbytes() / static_cast<std::size_t>(embedding_.rows);
  const auto row = static_cast<std::size_t>(table_.panels * panel_width) * sizeof(float);
  return bytes - layers_.front().kernel.read_bytes() + row;
}

double PackedModel::recurrent_operations() const {
  double products = 0;
  for (const Layer& layer : layers_)
    products += static_cast<double>(layer.spec.gates() * layer.spec.units * (layer.spec.input_dim + layer.spec.units));
  return 2 * products;
}

double PackedModel::projection_operations() const { return 2.0 * static_cast<double>(output_units() * classes_); }

}  // namespace recurlm
