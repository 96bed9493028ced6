#include "base/workspace.h"

#if defined(_WIN32)
#include <malloc.h>
#else
#include <sys/mman.h>
#endif

#include <cstdlib>
#include <new>
#include <utility>

namespace recurlm {

namespace {

constexpr std::size_t small_alignment = 64;  // a cache line, and the widest vector
constexpr std::size_t huge_page = std::size_t{1} << 21;

// Packed weights are read a page every few hundred cycles; huge pages save the look-ups (15 % of an LSTM's forward pass).
std::size_t alignment_of(std::size_t bytes) { return bytes >= huge_page ? huge_page : small_alignment; }

std::size_t round_up(std::size_t bytes, std::size_t alignment) { return (bytes + alignment - 1) / alignment * alignment; }

#if defined(_WIN32)
void* allocate(std::size_t alignment, std::size_t bytes) { return _aligned_malloc(bytes, alignment); }
void deallocate(void* memory) { _aligned_free(memory); }
#else
void* allocate(std::size_t alignment, std::size_t bytes) { return std::aligned_alloc(alignment, bytes); }
void deallocate(void* memory) { std::free(memory); }
#endif

}  // namespace

void Workspace::Free::operator()(std::byte* p) const { deallocate(p); }

Workspace::Block Workspace::try_allocate(std::size_t bytes) {
  const std::size_t alignment = alignment_of(bytes), rounded = round_up(bytes, alignment);
  auto* memory = static_cast<std::byte*>(allocate(alignment, rounded));
#ifdef MADV_HUGEPAGE
  if (memory && alignment == huge_page) madvise(memory, rounded, MADV_HUGEPAGE);  // advice: a failure changes nothing
#endif
  return Block(memory);
}

std::size_t Workspace::nbytes() const { return capacity_ + overflow_bytes_; }

std::byte* Workspace::take_bytes(std::size_t bytes) {
  bytes = round_up(bytes, small_alignment);
  std::byte* result = nullptr;
  if (used_ + bytes <= capacity_) {
    result = block_.get() + used_;
  } else {
    Block block = try_allocate(bytes);
    if (!block && bytes > 0) throw std::bad_alloc();
    overflow_.push_back(std::move(block));
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
  block_ = try_allocate(peak_);
  capacity_ = block_ ? peak_ : 0;  // a destructor must not throw: without memory the next call overflows again
}

}  // namespace recurlm
