// The Workspace as Python holds it: used by one call at a time, and whoever comes second is told so.
#pragma once

#include <atomic>
#include <stdexcept>

#include "base/workspace.h"

namespace recurlm::bindings {

class PyWorkspace {
 public:
  class Use {
   public:
    explicit Use(PyWorkspace& owner) : owner_(owner) {
      if (owner.busy_.exchange(true)) throw std::runtime_error("this workspace is in use by another call");
    }
    ~Use() { owner_.busy_ = false; }
    Use(const Use&) = delete;
    Use& operator=(const Use&) = delete;
    Workspace& operator*() const { return owner_.workspace_; }

   private:
    PyWorkspace& owner_;
  };

  std::size_t nbytes() const { return workspace_.nbytes(); }
  int growths() const { return workspace_.growths(); }

 private:
  Workspace workspace_;
  std::atomic<bool> busy_{false};
};

}  // namespace recurlm::bindings
