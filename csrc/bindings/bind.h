#pragma once

#include <pybind11/pybind11.h>

namespace recurlm::bindings {

void bind_machine(pybind11::module_& module);
void bind_rows(pybind11::module_& module);
void bind_recurrent(pybind11::module_& module);
void bind_attention(pybind11::module_& module);
void bind_losses(pybind11::module_& module);
void bind_optimizers(pybind11::module_& module);
void bind_penalties(pybind11::module_& module);
void bind_infer(pybind11::module_& module);
void bind_text(pybind11::module_& module);

}  // namespace recurlm::bindings
