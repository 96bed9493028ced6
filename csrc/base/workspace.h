// Scratch memory for ops: grows to what its largest user needs, then never allocates again.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "base/types.h"
#include "base/views.h"

namespace recurlm {

class Workspace {
 public:
  // What is taken while a Frame lives is given back when it ends.
  class Frame {
   public:
    explicit Frame(Workspace& workspace) : workspace_(workspace), mark_(workspace.used_) { ++workspace.depth_; }
    ~Frame() { workspace_.release(mark_); }
    Frame(const Frame&) = delete;
    Frame& operator=(const Frame&) = delete;

    template <typename T>
    T* take(index count) {
      return reinterpret_cast<T*>(workspace_.take_bytes(static_cast<std::size_t>(count) * sizeof(T)));
    }
    Panels take_panels(index rows, index panels) {
      return {take<float>(Panels::size(rows, panels)), rows, panels, rows * panel_width};
    }

   private:
    Workspace& workspace_;
    std::size_t mark_;
  };

  std::size_t nbytes() const;
  int growths() const { return growths_; }

 private:
  struct Free {
    void operator()(std::byte* p) const;
  };
  using Block = std::unique_ptr<std::byte, Free>;

  static Block try_allocate(std::size_t bytes);  // null where there is no memory
  std::byte* take_bytes(std::size_t bytes);
  void release(std::size_t mark);

  Block block_;
  std::size_t capacity_ = 0;
  std::size_t used_ = 0;            // bytes handed out, whether they fitted the block or not
  std::size_t peak_ = 0;
  std::vector<Block> overflow_;     // what did not fit; merged into one block when the last frame ends
  std::size_t overflow_bytes_ = 0;
  int depth_ = 0;
  int growths_ = 0;
};

}  // namespace recurlm
