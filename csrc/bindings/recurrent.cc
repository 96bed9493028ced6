#include <string>

#include "bindings/arrays.h"
#include "bindings/bind.h"
#include "bindings/cell.h"
#include "bindings/workspace.h"

namespace recurlm::bindings {

namespace {

CellSpec make_cell(const std::string& kind, index input_dim, index units, const std::string& activation,
                   bool reset_after) {
  CellSpec spec{CellKind::rnn, input_dim, units, parse_activation(activation), reset_after};
  if (kind == "gru")
    spec.kind = CellKind::gru;
  else if (kind == "lstm")
    spec.kind = CellKind::lstm;
  else if (kind != "rnn")
    throw py::value_error("kind must be rnn, gru or lstm, not '" + kind + "'");
  if (input_dim < 1 || units < 1)
    throw py::value_error("input_dim and units must be at least 1, not " + std::to_string(input_dim) + " and " +
                          std::to_string(units));
  if (spec.activation == kernels::Activation::gelu)
    throw py::value_error("activation of a cell must be linear, tanh, sigmoid or relu, not 'gelu'");
  if (spec.kind != CellKind::rnn && spec.activation != kernels::Activation::tanh)
    throw py::value_error("activation must be tanh for a " + kind + ", not '" + activation + "'");
  return spec;
}

CellSpec in_precision(CellSpec spec, const std::string& precision) {
  spec.precision = parse_precision(precision);
  return spec;
}

const char* kind_name(const CellSpec& spec) {
  return spec.kind == CellKind::rnn ? "rnn" : spec.kind == CellKind::gru ? "gru" : "lstm";
}

void require_state_c(const CellSpec& spec, py::handle c, const char* name) {
  if ((spec.kind == CellKind::lstm) == c.is_none())
    throw py::value_error(std::string(name) + (c.is_none() ? " is needed by an lstm" : " must be None but for an lstm"));
}

Sequence read_sequence(const CellSpec& spec, py::handle x, py::handle rows, py::handle h, py::handle c,
                       py::handle saved, py::handle mask, bool reverse, py::handle state_factors,
                       py::handle dropped_h) {
  const Shape positions = rows.is_none()
      ? shape_of(checked_array<float>(x, "x", {any_extent, any_extent, spec.input_dim}, Access::read))
      : shape_of(checked_array<std::int32_t>(rows, "rows", {any_extent, any_extent}, Access::read));
  const index steps = positions[0], batch = positions[1];
  const ConstMatrixView input = rows.is_none()
      ? ConstMatrixView{read<float>(x, "x", {steps, batch, spec.input_dim}), steps * batch, spec.input_dim}
      : read_matrix(x, "x", any_extent, spec.input_dim);
  require_state_c(spec, c, "c");
  if (state_factors.is_none() != dropped_h.is_none())
    throw py::value_error("state_factors and dropped_h go together: both or neither must be None");
  const Shape states{steps + 1, batch, spec.units};
  return {steps,
          batch,
          input,
          rows.is_none() ? nullptr : read_ids(rows, "rows", {steps, batch}, input.rows),
          reinterpret_cast<const unsigned char*>(read_optional<bool>(mask, "mask", {steps, batch})),
          reverse,
          write<float>(h, "h", states),
          write_optional<float>(c, "c", states),
          write<float>(saved, "saved", {spec.saved_size(steps, batch)}),
          read_optional<float>(state_factors, "state_factors", {batch, spec.units}),
          write_optional<float>(dropped_h, "dropped_h", {steps, batch, spec.units})};
}

void py_recurrent_forward(const CellSpec& spec, py::handle x, py::handle kernel, py::handle recurrent_kernel,
                          py::handle bias, py::handle h, py::handle c, py::handle saved, py::handle mask,
                          PyWorkspace& workspace, bool reverse, py::handle rows, const std::string& precision,
                          py::handle state_factors, py::handle dropped_h) {
  const CellSpec in = in_precision(spec, precision);
  const CellWeights weights = read_cell_weights(spec, kernel, recurrent_kernel, bias);
  const Sequence sequence = read_sequence(spec, x, rows, h, c, saved, mask, reverse, state_factors, dropped_h);
  const PyWorkspace::Use use(workspace);
  py::gil_scoped_release release;
  recurrent_forward(in, weights, sequence, *use);
}

void py_recurrent_backward(const CellSpec& spec, py::handle x, py::handle kernel, py::handle recurrent_kernel,
                           py::handle bias, py::handle h, py::handle c, py::handle saved, py::handle mask,
                           py::handle dy, py::handle dh, py::handle dc, py::handle dx, py::handle dkernel,
                           py::handle drecurrent_kernel, py::handle dbias, PyWorkspace& workspace, bool reverse,
                           bool accumulate, py::handle rows, const std::string& precision, py::handle state_factors,
                           py::handle dropped_h) {
  const CellSpec in = in_precision(spec, precision);
  const CellWeights weights = read_cell_weights(spec, kernel, recurrent_kernel, bias);
  const Sequence sequence = read_sequence(spec, x, rows, h, c, saved, mask, reverse, state_factors, dropped_h);
  const index steps = sequence.steps, batch = sequence.batch, gates = spec.gates() * spec.units;
  require_state_c(spec, dc, "dc");
  const SequenceGradients gradients{read_optional<float>(dy, "dy", {steps, batch, spec.units}),
                                    write<float>(dh, "dh", {batch, spec.units}),
                                    write_optional<float>(dc, "dc", {batch, spec.units}),
                                    write_optional<float>(dx, "dx", rows.is_none() ? Shape{steps, batch, spec.input_dim}
                                                                                   : Shape{sequence.x.rows, spec.input_dim})};
  const CellGradients weight_gradients{
      write_optional_matrix(dkernel, "dkernel", spec.input_dim, gates),
      write_optional_matrix(drecurrent_kernel, "drecurrent_kernel", spec.units, gates),
      write_optional<float>(dbias, "dbias", bias_shape(spec)), accumulate};
  const PyWorkspace::Use use(workspace);
  py::gil_scoped_release release;
  recurrent_backward(in, weights, sequence, gradients, weight_gradients, *use);
}

}  // namespace

Shape bias_shape(const CellSpec& spec) {
  const index gates = spec.gates() * spec.units;
  return spec.separate_recurrent_gates() ? Shape{2, gates} : Shape{gates};
}

CellWeights read_cell_weights(const CellSpec& spec, py::handle kernel, py::handle recurrent_kernel, py::handle bias) {
  const index gates = spec.gates() * spec.units;
  return {read_matrix(kernel, "kernel", spec.input_dim, gates),
          read_matrix(recurrent_kernel, "recurrent_kernel", spec.units, gates),
          read_optional<float>(bias, "bias", bias_shape(spec))};
}

void bind_recurrent(py::module_& module) {
  using py::arg;
  py::class_<CellSpec>(module, "Cell")
      .def(py::init(&make_cell), arg("kind"), arg("input_dim"), arg("units"), py::kw_only(), arg("activation") = "tanh",
           arg("reset_after") = true)
      .def_property_readonly("kind", &kind_name)
      .def_property_readonly("gates", &CellSpec::gates)
      .def("saved_size", [](const CellSpec& spec, index steps, index batch) {
        if (steps < 0 || batch < 0) throw py::value_error("steps and batch must not be negative");
        return spec.saved_size(steps, batch);
      }, arg("steps"), arg("batch"));
  module.def("recurrent_forward", &py_recurrent_forward, arg("cell"), arg("x"), arg("kernel"), arg("recurrent_kernel"),
             arg("bias"), arg("h"), arg("c"), arg("saved"), arg("mask"), arg("workspace"), py::kw_only(),
             arg("reverse") = false, arg("rows") = py::none(), arg("precision") = "float32",
             arg("state_factors") = py::none(), arg("dropped_h") = py::none());
  module.def("recurrent_backward", &py_recurrent_backward, arg("cell"), arg("x"), arg("kernel"),
             arg("recurrent_kernel"), arg("bias"), arg("h"), arg("c"), arg("saved"), arg("mask"), arg("dy"), arg("dh"),
             arg("dc"), arg("dx"), arg("dkernel"), arg("drecurrent_kernel"), arg("dbias"), arg("workspace"),
             py::kw_only(), arg("reverse") = false, arg("accumulate") = false, arg("rows") = py::none(),
             arg("precision") = "float32", arg("state_factors") = py::none(), arg("dropped_h") = py::none());
}

}  // namespace recurlm::bindings
