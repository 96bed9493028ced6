#include "infer/packed_layer.h"

namespace recurlm {

ElementType element_type(Precision precision) {
  return precision == Precision::float32 ? ElementType::float32
         : precision == Precision::int8  ? ElementType::int8
                                         : ElementType::uint16;
}

PackedLayer PackedLayer::of(const ModelLayer& layer) {
  const CellSpec& spec = layer.spec;
  return {spec, nullptr, weights_of(layer.kernel.precision, spec.input_dim, spec.panels()),
          weights_of(layer.recurrent_kernel.precision, spec.units, spec.panels()), nullptr, nullptr};
}

void PackedLayer::pack(const Team& team, const ModelLayer& from) const {
  pack_columns(team, from.kernel, columns, kernel);
  pack_columns(team, from.recurrent_kernel, columns, recurrent_kernel);
  pack_cell_biases(team, spec, from.bias, {columns, {}, {}, bias, recurrent_bias});
}

PackedCell PackedLayer::with_room(Workspace::Frame& frame, int threads) const {
  return {columns, RightOperand(frame, kernel, threads), RightOperand(frame, recurrent_kernel, threads), bias, recurrent_bias};
}

double PackedLayer::operations() const {
  return 2.0 * static_cast<double>(spec.gates() * spec.units * (spec.input_dim + spec.units));
}

}  // namespace recurlm
