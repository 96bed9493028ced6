#include "bindings/bind.h"

namespace recurlm::bindings {

void bind_infer(pybind11::module_&) {}

}  // namespace recurlm::bindings
