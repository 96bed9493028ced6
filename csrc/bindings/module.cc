// The extension module: one bind_ function for each family of ops.
#include "bindings/bind.h"

PYBIND11_MODULE(_core, module) {
  using namespace recurlm::bindings;
  module.doc() = "The C++ core of recurlm; _core/*.pyi document it.";
  bind_machine(module);
  bind_rows(module);
  bind_recurrent(module);
  bind_attention(module);
  bind_losses(module);
  bind_optimizers(module);
  bind_penalties(module);
  bind_infer(module);
  bind_text(module);
}
