// An object that one call at a time may use; whoever comes second is told so.
#pragma once

#include <atomic>
#include <stdexcept>
#include <string>
#include <utility>

namespace recurlm::bindings {

template <typename T>
class Exclusive {
 public:
  explicit Exclusive(const char* name, T value = T()) : name_(name), value_(std::move(value)) {}

  class Use {
   public:
    explicit Use(Exclusive& owner) : owner_(owner) {
      if (owner.busy_.exchange(true)) throw std::runtime_error(std::string(owner.name_) + " is in use by another call");
    }
    ~Use() { owner_.busy_ = false; }
    Use(const Use&) = delete;
    Use& operator=(const Use&) = delete;
    T& operator*() const { return owner_.value_; }
    T* operator->() const { return &owner_.value_; }

   private:
    Exclusive& owner_;
  };

  // For what no call changes.
  const T& peek() const { return value_; }

 private:
  const char* name_;
  T value_;
  std::atomic<bool> busy_{false};
};

}  // namespace recurlm::bindings
