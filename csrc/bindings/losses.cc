#include "ops/losses.h"

#include <string>

#include "bindings/arrays.h"
#include "bindings/bind.h"
#include "bindings/linear_arguments.h"
#include "bindings/workspace.h"
#include "ops/projection_cross_entropy.h"
#include "ops/reductions.h"

namespace recurlm::bindings {

namespace {

LossKind parse_loss(const std::string& name) {
  if (name == "mean_squared_error") return LossKind::mean_squared_error;
  if (name == "mean_absolute_error") return LossKind::mean_absolute_error;
  if (name == "binary_crossentropy") return LossKind::binary_crossentropy;
  if (name == "categorical_crossentropy") return LossKind::categorical_crossentropy;
  throw py::value_error("loss must be mean_squared_error, mean_absolute_error, binary_crossentropy or "
                        "categorical_crossentropy, not '" + name + "'");
}

double py_projection_cross_entropy(py::handle x, py::handle kernel, py::handle bias, py::handle targets,
                                   py::handle weights, py::handle log_probs, py::handle ranks, py::handle predictions,
                                   py::handle dx, py::handle dkernel, py::handle dbias, PyWorkspace& workspace,
                                   bool transposed, bool accumulate, const std::string& precision,
                                   double label_smoothing) {
  require(label_smoothing >= 0 && label_smoothing <= 1, "label_smoothing must be from 0 to 1", label_smoothing);
  const ConstMatrixView input = read_matrix(x, "x");
  const LinearWeights projection = read_linear(kernel, bias, transposed, input.cols, precision);
  if (projection.outputs() < 1) throw py::value_error("kernel must have at least one output column");
  const float* row_weights = read_optional<float>(weights, "weights", {input.rows});
  const TokenScores scores{write<float>(log_probs, "log_probs", {input.rows}),
                           write<std::int32_t>(ranks, "ranks", {input.rows}),
                           write<std::int32_t>(predictions, "predictions", {input.rows})};
  const MatrixView input_gradient = write_optional_matrix(dx, "dx", input.rows, input.cols);
  const LinearGradients gradients = write_linear(dkernel, dbias, projection, accumulate);
  const std::int32_t* ids = read_ids(targets, "targets", {input.rows}, projection.outputs(), row_weights);
  const PyWorkspace::Use use(workspace);
  py::gil_scoped_release release;
  return projection_cross_entropy(input, projection, ids, row_weights, static_cast<float>(label_smoothing), scores, input_gradient,
                                  gradients, *use);
}

void py_loss_forward(const std::string& name, py::handle y_true, py::handle y_pred, py::handle loss) {
  const LossKind kind = parse_loss(name);
  const ConstMatrixView prediction = read_matrix(y_pred, "y_pred");
  const ConstMatrixView truth = read_matrix(y_true, "y_true", prediction.rows, prediction.cols);
  float* losses = write<float>(loss, "loss", {prediction.rows});
  py::gil_scoped_release release;
  loss_forward(kind, truth, prediction, losses);
}

void py_loss_backward(const std::string& name, py::handle y_true, py::handle y_pred, py::handle weights,
                      py::handle dy) {
  const LossKind kind = parse_loss(name);
  const ConstMatrixView prediction = read_matrix(y_pred, "y_pred");
  const ConstMatrixView truth = read_matrix(y_true, "y_true", prediction.rows, prediction.cols);
  const float* row_weights = read<float>(weights, "weights", {prediction.rows});
  const MatrixView gradient = write_matrix(dy, "dy", prediction.rows, prediction.cols);
  py::gil_scoped_release release;
  loss_backward(kind, truth, prediction, row_weights, gradient);
}

void py_sparse_forward(py::handle targets, py::handle y_pred, py::handle loss) {
  const ConstMatrixView prediction = read_matrix(y_pred, "y_pred");
  float* losses = write<float>(loss, "loss", {prediction.rows});
  const std::int32_t* ids = read_ids(targets, "targets", {prediction.rows}, prediction.cols);
  py::gil_scoped_release release;
  sparse_categorical_crossentropy_forward(ids, prediction, losses);
}

void py_sparse_backward(py::handle targets, py::handle y_pred, py::handle weights, py::handle dy) {
  const ConstMatrixView prediction = read_matrix(y_pred, "y_pred");
  const float* row_weights = read<float>(weights, "weights", {prediction.rows});
  const MatrixView gradient = write_matrix(dy, "dy", prediction.rows, prediction.cols);
  const std::int32_t* ids = read_ids(targets, "targets", {prediction.rows}, prediction.cols);
  py::gil_scoped_release release;
  sparse_categorical_crossentropy_backward(ids, prediction, row_weights, gradient);
}

void py_softmax_cross_entropy(py::handle logits, py::handle y_true, py::handle weights, py::handle loss,
                              py::handle dlogits) {
  const ConstMatrixView z = read_matrix(logits, "logits");
  if (z.cols < 1) throw py::value_error("logits must have at least one column");
  const ConstMatrixView truth = read_matrix(y_true, "y_true", z.rows, z.cols);
  const float* row_weights = read<float>(weights, "weights", {z.rows});
  float* losses = write<float>(loss, "loss", {z.rows});
  const MatrixView gradient = write_optional_matrix(dlogits, "dlogits", z.rows, z.cols);
  py::gil_scoped_release release;
  softmax_cross_entropy(z, truth, row_weights, losses, gradient);
}

double py_weighted_sum(py::handle values, py::handle weights) {
  const py::array array = checked_array<float>(values, "values", {any_extent}, Access::read);
  const index count = array.shape(0);
  return weighted_sum(count, static_cast<const float*>(array.data()),
                      read_optional<float>(weights, "weights", {count}));
}

}  // namespace

void bind_losses(py::module_& module) {
  using py::arg;
  module.def("projection_cross_entropy", &py_projection_cross_entropy, arg("x"), arg("kernel"), arg("bias"),
             arg("targets"), arg("weights"), arg("log_probs"), arg("ranks"), arg("predictions"), arg("dx"),
             arg("dkernel"), arg("dbias"), arg("workspace"), py::kw_only(), arg("transposed") = false,
             arg("accumulate") = false, arg("precision") = "float32", arg("label_smoothing") = 0.0);
  module.def("loss_forward", &py_loss_forward, arg("name"), arg("y_true"), arg("y_pred"), arg("loss"));
  module.def("loss_backward", &py_loss_backward, arg("name"), arg("y_true"), arg("y_pred"), arg("weights"), arg("dy"));
  module.def("sparse_categorical_crossentropy_forward", &py_sparse_forward, arg("targets"), arg("y_pred"), arg("loss"));
  module.def("sparse_categorical_crossentropy_backward", &py_sparse_backward, arg("targets"), arg("y_pred"),
             arg("weights"), arg("dy"));
  module.def("softmax_cross_entropy", &py_softmax_cross_entropy, arg("logits"), arg("y_true"), arg("weights"),
             arg("loss"), arg("dlogits"));
  module.def("weighted_sum", &py_weighted_sum, arg("values"), arg("weights"));
}

}  // namespace recurlm::bindings
