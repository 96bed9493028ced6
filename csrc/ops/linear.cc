#include "ops/linear.h"

namespace recurlm {

LinearOperands::LinearOperands(Workspace::Frame& frame, const LinearWeights& weights_)
    : weights(weights_),
      input_columns(natural_columns(frame, weights.inputs())),
      output_columns(natural_columns(frame, weights.outputs())),
      bias(frame.take<float>(panels_of(weights.outputs()) * panel_width)) {}

Packable LinearOperands::forward() const {
  return weights.transposed ? Packable::rows_of(weights.kernel, input_columns, 2 * panels_of(weights.inputs()))
                            : Packable::columns_of(weights.kernel, output_columns, panels_of(weights.outputs()));
}

Packable LinearOperands::backward() const {
  return weights.transposed ? Packable::columns_of(weights.kernel, input_columns, panels_of(weights.inputs()))
                            : Packable::rows_of(weights.kernel, output_columns, 2 * panels_of(weights.outputs()));
}

LinearWeightGradient::LinearWeightGradient(Workspace::Frame& frame, const LinearOperands& linear, const Panels& dy, int threads)
    : transposed_(linear.weights.transposed),
      input_columns_(linear.input_columns),
      output_columns_(linear.output_columns) {
  const Precision precision = linear.weights.precision;
  if (transposed_) {
    right_ = RightOperand(take_weights(frame, precision, dy.rows, panels_of(linear.weights.inputs())));
    turned_ = take_transposed(frame, precision, threads * panel_width, dy.rows);
  } else {
    right_ = RightOperand::of_panels(frame, dy, packed_columns(frame, dy), precision, threads);
    x_transposed_ = take_transposed(frame, precision, linear.weights.inputs(), dy.rows);
  }
}

void LinearWeightGradient::prepare(const Team& team, ConstMatrixView x) const {
  if (transposed_)
    pack(team, Packable::columns_of(x, input_columns_, right_.packed.panels), right_.packed);
  else
    transpose(team, x, x_transposed_);
}

void LinearWeightGradient::multiply(const Team& team, const Panels& dy, MatrixView dkernel, Init init) const {
  const Operand left = transposed_ ? Operand::columns_of(dy, dkernel.rows, turned_)
                                   : Operand::transposed(x_transposed_.first(dy.rows));
  const Target target{dkernel.data, dkernel.cols, transposed_ ? input_columns_ : output_columns_};
  recurlm::multiply(team, {left, right_, target, init});
}

void linear_forward(ConstMatrixView x, const LinearWeights& weights, MatrixView y, Workspace& workspace) {
  Workspace::Frame frame(workspace);
  const int threads = threads_for(2.0 * static_cast<double>(x.rows * x.cols * y.cols));
  const LinearOperands linear(frame, weights);
  const RightOperand kernel(frame, linear.forward(), weights.precision, x.rows, threads);
  parallel(threads, [&](Team& team) {
    kernel.prepare(team);
    pack_bias(team, weights.bias, linear.output_columns, kernel.panels(), 0.0f, linear.bias);
    team.barrier();
    multiply(team, {Operand::row_major(x), kernel, {y.data, y.cols, linear.output_columns}, Init::bias, linear.bias});
  });
}

void linear_backward(ConstMatrixView x, const LinearWeights& weights, ConstMatrixView dy, MatrixView dx,
                     const LinearGradients& gradients, Workspace& workspace) {
  Workspace::Frame frame(workspace);
  const int threads = threads_for(2.0 * static_cast<double>(x.rows * x.cols * dy.cols));
  const LinearOperands linear(frame, weights);
  const RightOperand transposed =
      dx ? RightOperand(frame, linear.backward(), weights.precision, dy.rows, threads) : RightOperand();
  const bool packs_dy = gradients.kernel || gradients.bias;
  const Panels dy_packed = packs_dy ? frame.take_panels(dy.rows, panels_of(dy.cols)) : Panels{};
  const LinearWeightGradient kernel =
      gradients.kernel ? LinearWeightGradient(frame, linear, dy_packed, threads) : LinearWeightGradient();
  parallel(threads, [&](Team& team) {
    if (dx) transposed.prepare(team);
    if (gradients.kernel) kernel.prepare(team, x);
    if (packs_dy) pack(team, Packable::columns_of(dy, linear.output_columns, dy_packed.panels), dy_packed);
    team.barrier();
    if (dx) multiply(team, {Operand::row_major(dy), transposed, {dx.data, dx.cols, linear.input_columns}});
    if (gradients.kernel) {
      kernel.multiply(team, dy_packed, gradients.kernel, gradient_init(gradients.accumulate));
    }
    if (gradients.bias)
      column_sums(team, dy_packed, linear.output_columns, gradients.accumulate, gradients.bias);
  });
}

}  // namespace recurlm
