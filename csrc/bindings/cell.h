#pragma once

#include "bindings/linear_arguments.h"
#include "ops/recurrent.h"

namespace recurlm::bindings {

Shape bias_shape(const CellSpec& spec);
CellWeights read_cell_weights(const CellSpec& spec, py::handle kernel, py::handle recurrent_kernel, py::handle bias);

}  // namespace recurlm::bindings
