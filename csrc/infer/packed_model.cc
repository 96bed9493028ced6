#include "infer/packed_model.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <string>
#include <type_traits>
#include <utility>

namespace recurlm {

namespace {

// A larger table would push weights out of the caches for what a small product costs.
constexpr index largest_table = index{8} << 20;  // bytes

std::uint64_t next_id() {
  static std::atomic<std::uint64_t> last{0};
  return ++last;
}

}  // namespace

PackedModel::PackedModel(const StoredMatrix& embedding, const std::vector<ModelLayer>& layers,
                         const ModelProjection& projection)
    : id_(next_id()) {
  lay_out(embedding, layers, projection);
  visit_arrays(*this, [&](const StoredArray& array, auto& data) {
    data = reinterpret_cast<std::decay_t<decltype(data)>>(frame_.take<std::byte>(size_of(array)));
  });
  place_columns();
  copy_embedding(embedding);
  pack(layers, projection);
  make_table();
}

PackedModel::PackedModel(const StoredMatrix& embedding, const std::vector<ModelLayer>& layers,
                         const ModelProjection& projection, std::shared_ptr<const MappedFile> file, const Find& find)
    : id_(next_id()), file_(std::move(file)) {
  lay_out(embedding, layers, projection);
  visit_arrays(*this, [&](const StoredArray& array, auto& data) {  // pages that cannot be written, and are not
    data = static_cast<std::decay_t<decltype(data)>>(const_cast<void*>(find(array)));
  });
  place_columns();
  make_table();
}

std::vector<StoredArray> PackedModel::arrays() const {
  std::vector<StoredArray> arrays;
  visit_arrays(*this, [&](StoredArray array, const void* data) {
    array.data = data;
    arrays.push_back(std::move(array));
  });
  return arrays;
}

// All extents; where the arrays lie comes after.
void PackedModel::lay_out(const StoredMatrix& embedding, const std::vector<ModelLayer>& layers, const ModelProjection& projection) {
  embedding_ = {embedding.precision, nullptr, embedding.rows, embedding.cols};
  classes_ = projection.outputs();
  projection_ = weights_of(projection.kernel.precision, projection.inputs(), panels_of(classes_));
  for (const ModelLayer& layer : layers) layers_.push_back(Layer::of(layer));
}

// visit(array, where its data lie).
template <typename Self, typename Visit>
void PackedModel::visit_arrays(Self& self, Visit&& visit) {
  const auto weights = [&](const std::string& name, auto& packed) {
    visit(StoredArray{name, element_type(packed.precision), {packed.panels, packed.stride}, nullptr}, packed.data);
    if (packed.precision != Precision::int8) return;
    visit(StoredArray{name + ".scales", ElementType::float32, {packed.panels, panel_width}, nullptr}, packed.scales);
    visit(StoredArray{name + ".sums", ElementType::int32, {packed.panels, panel_width}, nullptr}, packed.sums);
  };
  const auto bias = [&](const std::string& name, index panels, auto& data) {
    visit(StoredArray{name, ElementType::float32, {panels, panel_width}, nullptr}, data);
  };
  for (std::size_t l = 0; l < self.layers_.size(); ++l) {
    auto& layer = self.layers_[l];
    const std::string name = "cells." + std::to_string(l) + ".";
    weights(name + "kernel", layer.kernel);
    weights(name + "recurrent_kernel", layer.recurrent_kernel);
    bias(name + "bias", layer.spec.panels(), layer.bias);
    bias(name + "recurrent_bias", layer.spec.panels(), layer.recurrent_bias);
  }
  weights("projection.kernel", self.projection_);
  bias("projection.bias", self.projection_.panels, self.projection_bias_);
  auto& table = self.embedding_;
  if (table.precision == Precision::int8)
    visit(StoredArray{"embedding.scales", ElementType::float32, {table.rows}, nullptr}, table.scales);
  visit(StoredArray{"embedding", element_type(table.precision), {table.rows, table.cols}, nullptr}, table.data);
}

// In proportion to the arrays, which are there by now: extents that a file only claims take no memory.
void PackedModel::place_columns() {
  for (Layer& layer : layers_) layer.columns = take_gate_columns(frame_, layer.spec);
}

void PackedModel::copy_embedding(const StoredMatrix& embedding) {
  // Its memory is our own: nobody else has seen it yet.
  std::memcpy(const_cast<void*>(embedding_.data), embedding.data, embedding.nbytes());
  if (embedding.scales) std::copy_n(embedding.scales, embedding.rows, const_cast<float*>(embedding_.scales));
}

void PackedModel::pack(const std::vector<ModelLayer>& layers, const ModelProjection& projection) {
  Workspace workspace;
  Workspace::Frame frame(workspace);
  const StoredMatrix& kernel = projection.kernel;
  const Column *columns = natural_columns(frame, kernel.cols), *output_columns = natural_columns(frame, classes_);
  parallel(threads_for(static_cast<double>(storage_.nbytes())), [&](Team& team) {
    projection.transposed ? pack_rows(team, kernel, columns, projection_) : pack_columns(team, kernel, columns, projection_);
    pack_bias(team, projection.bias, output_columns, projection_.panels, 0.0f, projection_bias_);
    for (std::size_t l = 0; l < layers.size(); ++l) layers_[l].pack(team, layers[l]);
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
  for (const Layer& layer : layers_) bytes += layer.read_bytes();
  if (!table_.data) return bytes + embedding_.nbytes() / static_cast<std::size_t>(embedding_.rows);
  const auto row = static_cast<std::size_t>(table_.panels * panel_width) * sizeof(float);
  return bytes - layers_.front().kernel.read_bytes() + row;
}

double PackedModel::recurrent_operations() const {
  double operations = 0;
  for (const Layer& layer : layers_) operations += layer.operations();
  return operations;
}

double PackedModel::projection_operations() const { return 2.0 * static_cast<double>(output_units() * classes_); }

}  // namespace recurlm
