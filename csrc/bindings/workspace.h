#pragma once

#include "base/workspace.h"
#include "bindings/exclusive.h"

namespace recurlm::bindings {

struct PyWorkspace : Exclusive<Workspace> {
  PyWorkspace() : Exclusive("this workspace") {}
};

}  // namespace recurlm::bindings
