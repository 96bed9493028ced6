#include "base/workspace.h"

#include <new>

namespace recurlm {

namespace {
constexpr std::size_t alignment = 64;  // a cache line, and the widest vector
}

void Workspace::Free::operator()(std::byte* p) const { ::operator delete(p, std::align_val_t{alignment}); }

Workspace::Block Workspace::allocate(std::size_t bytes) {
  return Block(static_cast<std::byte*>(::operator new(bytes, std::align_val_t{alignment})));
}

std::size_t Workspace::nbytes() const { return capacity_ + overflow_bytes_; }

std::byte* Workspace::take_bytes(std::size_t bytes) {
  bytes = (bytes + alignment - 1) / alignment * alignment;
  std::byte* result = nullptr;
  if (used_ + bytes <= capacity_) {
    result = block_.get() + used_;
  } else {
    overflow_.push_back(allocate(bytes));
    overflow_bytes_ += bytes;
    ++growths_;
    result = overflow_.back().get();
  }
  used_ += bytes;
  if (used_ > peak_) peak_ = used_;
  return result;
}

void Workspace::release(std::size_t mark) {
  used_ = mark;
  if (--depth_ > 0 || overflow_.empty()) return;
  overflow_.clear();
  overflow_bytes_ = 0;
  block_.reset();  // before the new one is made, so that the peak is one block
  capacity_ = 0;
  block_ = Block(static_cast<std::byte*>(::operator new(peak_, std::align_val_t{alignment}, std::nothrow)));
  if (!block_) return;  // a destructor must not throw: the next call overflows again
  capacity_ = peak_;
}

}  // namespace recurlm
