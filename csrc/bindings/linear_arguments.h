#pragma once

#include <string>

#include "bindings/arrays.h"
#include "ops/linear.h"

namespace recurlm::bindings {

LinearWeights read_linear(py::handle kernel, py::handle bias, bool transposed, index inputs, const std::string& precision);
LinearGradients write_linear(py::handle dkernel, py::handle dbias, const LinearWeights& weights, bool accumulate);
kernels::Activation parse_activation(const std::string& name);
Precision parse_precision(const std::string& name);  // of the operands of products in training

}  // namespace recurlm::bindings
