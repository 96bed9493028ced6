#include <string>

#include <pybind11/stl.h>

#include "bindings/arrays.h"
#include "bindings/bind.h"
#include "bindings/linear_arguments.h"
#include "bindings/workspace.h"
#include "kernels/table.h"
#include "ops/dropout.h"
#include "ops/embedding.h"

namespace recurlm::bindings {

LinearWeights read_linear(py::handle kernel, py::handle bias, bool transposed, index inputs, const std::string& precision) {
  const ConstMatrixView k = transposed ? read_matrix(kernel, "kernel", any_extent, inputs)
                                       : read_matrix(kernel, "kernel", inputs, any_extent);
  LinearWeights weights{k, nullptr, transposed, parse_precision(precision)};
  weights.bias = read_optional<float>(bias, "bias", {weights.outputs()});
  return weights;
}

LinearGradients write_linear(py::handle dkernel, py::handle dbias, const LinearWeights& weights, bool accumulate) {
  return {write_optional_matrix(dkernel, "dkernel", weights.kernel.rows, weights.kernel.cols),
          write_optional<float>(dbias, "dbias", {weights.outputs()}), accumulate};
}

namespace {

void py_linear_forward(py::handle x, py::handle kernel, py::handle bias, py::handle y, PyWorkspace& workspace,
                       bool transposed, const std::string& precision) {
  const ConstMatrixView input = read_matrix(x, "x");
  const LinearWeights weights = read_linear(kernel, bias, transposed, input.cols, precision);
  const MatrixView output = write_matrix(y, "y", input.rows, weights.outputs());
  const PyWorkspace::Use use(workspace);
  py::gil_scoped_release release;
  linear_forward(input, weights, output, *use);
}

void py_linear_backward(py::handle x, py::handle kernel, py::handle dy, py::handle dx, py::handle dkernel,
                        py::handle dbias, PyWorkspace& workspace, bool transposed, bool accumulate,
                        const std::string& precision) {
  const ConstMatrixView input = read_matrix(x, "x");
  const LinearWeights weights = read_linear(kernel, py::none(), transposed, input.cols, precision);
  const ConstMatrixView output_gradient = read_matrix(dy, "dy", input.rows, weights.outputs());
  const MatrixView input_gradient = write_optional_matrix(dx, "dx", input.rows, input.cols);
  const LinearGradients gradients = write_linear(dkernel, dbias, weights, accumulate);
  const PyWorkspace::Use use(workspace);
  py::gil_scoped_release release;
  linear_backward(input, weights, output_gradient, input_gradient, gradients, *use);
}

index length_of(py::handle ids) {
  return checked_array<std::int32_t>(ids, "ids", {any_extent}, Access::read).shape(0);
}

MatrixView write_table(py::handle object, const char* name) {
  const py::array array = checked_array<float>(object, name, {any_extent, any_extent}, Access::write);
  return write_matrix(array, name, array.shape(0), array.shape(1));
}

index py_distinct_ids(py::handle ids, index limit, py::handle distinct, py::handle rows, PyWorkspace& workspace) {
  const index count = length_of(ids);
  auto* found = write<std::int32_t>(distinct, "distinct", {count});
  auto* places = write<std::int32_t>(rows, "rows", {count});
  const std::int32_t* id = read_ids(ids, "ids", {count}, limit);
  const PyWorkspace::Use use(workspace);
  py::gil_scoped_release release;
  return distinct_ids(count, id, limit, found, places, *use);
}

void py_embedding_forward(py::handle ids, py::handle table, py::handle y) {
  const ConstMatrixView t = read_matrix(table, "table");
  const index count = length_of(ids);
  float* output = write<float>(y, "y", {count, t.cols});
  const std::int32_t* id = read_ids(ids, "ids", {count}, t.rows);
  py::gil_scoped_release release;
  embedding_forward(count, id, t, output);
}

void py_embedding_backward(py::handle ids, py::handle dy, py::handle dtable) {
  const MatrixView t = write_table(dtable, "dtable");
  const index count = length_of(ids);
  const ConstMatrixView gradient = read_matrix(dy, "dy", count, t.cols);
  const std::int32_t* id = read_ids(ids, "ids", {count}, t.rows);
  py::gil_scoped_release release;
  embedding_backward(count, id, gradient.data, t);
}

void py_zero_rows(py::handle ids, py::handle table) {
  const MatrixView t = write_table(table, "table");
  const index count = length_of(ids);
  const std::int32_t* id = read_ids(ids, "ids", {count}, t.rows);
  py::gil_scoped_release release;
  zero_rows(count, id, t);
}

// x of any shape as rows of its last axis.
ConstMatrixView read_rows(const py::array& x) {
  const index cols = x.ndim() ? x.shape(x.ndim() - 1) : 1;
  return {static_cast<const float*>(x.data()), cols ? x.size() / cols : 0, cols};
}

void py_activation_forward(const std::string& name, py::handle x, py::handle y) {
  const py::array input = read_any_shape(x, "x");
  float* output = write<float>(y, "y", shape_of(input));
  const ConstMatrixView rows = read_rows(input);
  if (name == "softmax") {
    py::gil_scoped_release release;
    if (rows.cols > 0) kernels::table().softmax_forward(rows.rows, rows.cols, rows.data, output);
    return;
  }
  const kernels::Activation activation = parse_activation(name);
  py::gil_scoped_release release;
  kernels::table().activation_forward(activation, rows.size(), rows.data, output);
}

void py_activation_backward(const std::string& name, py::handle y, py::handle dy, py::handle dx) {
  const py::array output = read_any_shape(y, "y");
  const float* output_gradient = read<float>(dy, "dy", shape_of(output));
  float* input_gradient = write<float>(dx, "dx", shape_of(output));
  const ConstMatrixView rows = read_rows(output);
  if (name == "softmax") {
    py::gil_scoped_release release;
    kernels::table().softmax_backward(rows.rows, rows.cols, rows.data, output_gradient, input_gradient);
    return;
  }
  const kernels::Activation activation = parse_activation(name);
  py::gil_scoped_release release;
  kernels::table().activation_backward(activation, rows.size(), rows.data, output_gradient, input_gradient);
}

std::array<index, 3> padded(const Shape& shape) {
  std::array<index, 3> result{1, 1, 1};
  std::copy(shape.begin(), shape.end(), result.end() - static_cast<std::ptrdiff_t>(shape.size()));
  return result;
}

void py_dropout(py::handle x, py::handle y, double rate, std::uint64_t seed, std::uint64_t stream, std::uint64_t step,
                const std::optional<Shape>& noise_shape) {
  const py::array input = read_any_shape(x, "x");
  const Shape shape = shape_of(input), noise = noise_shape.value_or(shape);
  float* output = write<float>(y, "y", shape);
  if (shape.empty() || shape.size() > 3)
    throw py::value_error("x must have 1 to 3 axes, not " + std::to_string(shape.size()));
  require(rate >= 0 && rate < 1, "rate must be from 0 to below 1", rate);
  if (noise.size() != shape.size()) throw py::value_error("noise_shape must have as many entries as x has axes");
  for (std::size_t i = 0; i < noise.size(); ++i)
    if (noise[i] != 1 && noise[i] != shape[i])
      throw py::value_error("noise_shape[" + std::to_string(i) + "] must be 1 or " + std::to_string(shape[i]) +
                            ", not " + std::to_string(noise[i]));
  const DropoutMask mask{{rate, seed, stream, step}, padded(shape), padded(noise)};
  py::gil_scoped_release release;
  dropout(mask, static_cast<const float*>(input.data()), output);
}

}  // namespace

kernels::Activation parse_activation(const std::string& name) {
  if (name == "linear") return kernels::Activation::linear;
  if (name == "tanh") return kernels::Activation::tanh;
  if (name == "sigmoid") return kernels::Activation::sigmoid;
  if (name == "relu") return kernels::Activation::relu;
  if (name == "gelu") return kernels::Activation::gelu;
  throw py::value_error("activation must be linear, tanh, sigmoid, relu or gelu (or, for rows, softmax), not '" + name + "'");
}

Precision parse_precision(const std::string& name) {
  if (name == "float32") return Precision::float32;
  if (name == "bfloat16") return Precision::bfloat16;
  throw py::value_error("precision must be float32 or bfloat16, not '" + name + "'");
}

void bind_rows(py::module_& module) {
  using py::arg;
  module.def("check_ids", [](py::handle ids, index limit, const char* name) {
    if (!py::isinstance<py::array>(ids)) checked_array<std::int32_t>(ids, name, {}, Access::read);
    read_ids(ids, name, shape_of(py::reinterpret_borrow<py::array>(ids)), limit);
  }, arg("ids"), arg("limit"), arg("name"));
  module.def("linear_forward", &py_linear_forward, arg("x"), arg("kernel"), arg("bias"), arg("y"), arg("workspace"),
             py::kw_only(), arg("transposed") = false, arg("precision") = "float32");
  module.def("linear_backward", &py_linear_backward, arg("x"), arg("kernel"), arg("dy"), arg("dx"), arg("dkernel"),
             arg("dbias"), arg("workspace"), py::kw_only(), arg("transposed") = false, arg("accumulate") = false,
             arg("precision") = "float32");
  module.def("distinct_ids", &py_distinct_ids, arg("ids"), arg("limit"), arg("distinct"), arg("rows"), arg("workspace"));
  module.def("embedding_forward", &py_embedding_forward, arg("ids"), arg("table"), arg("y"));
  module.def("embedding_backward", &py_embedding_backward, arg("ids"), arg("dy"), arg("dtable"));
  module.def("zero_rows", &py_zero_rows, arg("ids"), arg("table"));
  module.def("activation_forward", &py_activation_forward, arg("name"), arg("x"), arg("y"));
  module.def("activation_backward", &py_activation_backward, arg("name"), arg("y"), arg("dy"), arg("dx"));
  module.def("dropout", &py_dropout, arg("x"), arg("y"), arg("rate"), arg("seed"), arg("stream"), arg("step"),
             arg("noise_shape") = py::none());
}

}  // namespace recurlm::bindings
