#include "ops/penalties.h"

#include <cmath>

#include "bindings/arrays.h"
#include "bindings/bind.h"

namespace recurlm::bindings {

namespace {

double py_penalty(py::handle x, double l1, double l2, py::handle gradient) {
  const py::array values = read_any_shape(x, "x");
  float* dx = write_optional<float>(gradient, "gradient", shape_of(values));
  require(std::isfinite(l1), "l1 must be finite", l1);
  require(std::isfinite(l2), "l2 must be finite", l2);
  const auto* data = static_cast<const float*>(values.data());
  py::gil_scoped_release release;
  return penalty(values.size(), data, l1, l2, dx);
}

double py_difference_penalty(py::handle x, double factor, py::handle gradient) {
  const py::array values = read_any_shape(x, "x");
  if (values.ndim() < 1) throw py::value_error("x must have a first axis, time");
  float* dx = write_optional<float>(gradient, "gradient", shape_of(values));
  require(std::isfinite(factor), "factor must be finite", factor);
  const index steps = values.shape(0), width = steps ? values.size() / steps : 0;
  const auto* data = static_cast<const float*>(values.data());
  py::gil_scoped_release release;
  return difference_penalty(steps, width, data, factor, dx);
}

}  // namespace

void bind_penalties(py::module_& module) {
  using py::arg;
  module.def("penalty", &py_penalty, arg("x"), arg("l1"), arg("l2"), arg("gradient"));
  module.def("difference_penalty", &py_difference_penalty, arg("x"), arg("factor"), arg("gradient"));
}

}  // namespace recurlm::bindings
