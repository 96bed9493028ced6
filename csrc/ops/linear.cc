#include "ops/linear.h"

namespace recurlm {

PackedLinear::PackedLinear(Workspace::Frame& frame, const LinearWeights& weights_)
    : weights(weights_),
      input_columns(natural_columns(frame, weights.inputs())),
      output_columns(natural_columns(frame, weights.outputs())) {}

// Rows are padded to whole panels because a transposed matrix is packed by half panels of its columns.
void PackedLinear::take_forward(Workspace::Frame& frame) {
  const index panels = panels_of(weights.outputs());
  kernel = frame.take_panels(panels_of(weights.inputs()) * panel_width, panels);
  bias = frame.take<float>(panels * panel_width);
}

void PackedLinear::pack_forward(const Team& team, float padding) const {
  if (weights.transposed)
    pack_transposed(team, weights.kernel, input_columns, kernel);
  else
    pack(team, weights.kernel, output_columns, kernel);
  pack_bias(team, weights.bias, output_columns, kernel.panels, padding, bias);
}

void PackedLinear::take_backward(Workspace::Frame& frame) {
  transposed = frame.take_panels(panels_of(weights.outputs()) * panel_width, panels_of(weights.inputs()));
}

void PackedLinear::pack_backward(const Team& team) const {
  if (weights.transposed)
    pack(team, weights.kernel, input_columns, transposed);
  else
    pack_transposed(team, weights.kernel, output_columns, transposed);
}

void linear_weight_gradient(const Team& team, const PackedLinear& linear, const Panels& x, const Panels& dy,
                            MatrixView dkernel, Init init) {
  const bool transposed = linear.weights.transposed;
  const Target target{dkernel.data, dkernel.cols, transposed ? linear.input_columns : linear.output_columns};
  multiply(team, {Operand::packed_transposed(transposed ? dy : x, dkernel.rows), transposed ? x : dy, target, init});
}

void linear_forward(ConstMatrixView x, const LinearWeights& weights, MatrixView y, Workspace& workspace) {
  Workspace::Frame frame(workspace);
  PackedLinear linear(frame, weights);
  linear.take_forward(frame);
  parallel(threads_for(2.0 * static_cast<double>(x.rows * x.cols * y.cols)), [&](Team& team) {
    linear.pack_forward(team, 0.0f);
    team.barrier();
    multiply(team, {Operand::row_major(x), linear.kernel, {y.data, y.cols, linear.output_columns}, Init::bias, linear.bias});
  });
}

void linear_backward(ConstMatrixView x, const LinearWeights& weights, ConstMatrixView dy, MatrixView dx,
                     const LinearGradients& gradients, Workspace& workspace) {
  Workspace::Frame frame(workspace);
  PackedLinear linear(frame, weights);
  if (dx) linear.take_backward(frame);
  const bool packs_dy = gradients.kernel || gradients.bias;
  const Panels x_packed = gradients.kernel ? frame.take_panels(x.rows, panels_of(x.cols)) : Panels{};
  const Panels dy_packed = packs_dy ? frame.take_panels(dy.rows, panels_of(dy.cols)) : Panels{};
  parallel(threads_for(2.0 * static_cast<double>(x.rows * x.cols * dy.cols)), [&](Team& team) {
    if (dx) linear.pack_backward(team);
    if (gradients.kernel) pack(team, x, linear.input_columns, x_packed);
    if (packs_dy) pack(team, dy, linear.output_columns, dy_packed);
    team.barrier();
    if (dx) multiply(team, {Operand::row_major(dy), linear.transposed, {dx.data, dx.cols, linear.input_columns}});
    if (gradients.kernel)
      linear_weight_gradient(team, linear, x_packed, dy_packed, gradients.kernel, gradient_init(gradients.accumulate));
    if (gradients.bias)
      column_sums(team, dy_packed, linear.output_columns, gradients.accumulate, gradients.bias);
  });
}

}  // namespace recurlm
