// Threads: the only door to OpenMP.
#pragma once

#include <atomic>
#include <chrono>
#include <type_traits>

#include "base/types.h"

namespace recurlm {

// Cores that this process may use: affinity and the cgroup's quota respected.
int available_cores();
bool has_openmp();

// RECURLM_NUM_THREADS, else OMP_NUM_THREADS, else available_cores(); from 1 to max_threads().
int max_threads();
int get_num_threads();
void set_num_threads(int n);

struct Range {
  index begin, end;
};

// Threads meeting at a barrier. It spins for a while, since a step of a recurrent net takes microseconds, then yields the
// core, so that more threads than cores degrade gently.
class Barrier {
 public:
  explicit Barrier(int size) : size_(size) {}
  void wait();
  // How long threads waited after they had given up spinning.
  std::chrono::steady_clock::duration waited() const { return std::chrono::steady_clock::duration(waited_.load()); }

 private:
  void yield_until_after(unsigned generation);

  const int size_;
  std::atomic<std::chrono::steady_clock::rep> waited_{0};
  alignas(64) std::atomic<int> arrived_{0};
  alignas(64) std::atomic<unsigned> generation_{0};
};

// One thread's place among those that run a parallel region.
class Team {
 public:
  Team(int id, int size, Barrier& barrier) : id(id), size(size), barrier_(barrier) {}

  void barrier() {
    if (size > 1) barrier_.wait();
  }
  // This thread's contiguous part of [0, count).
  Range share(index count) const { return {count * id / size, count * (id + 1) / size}; }

  const int id;
  const int size;

 private:
  Barrier& barrier_;
};

// How many threads are worth waking for so many floating-point operations.
int threads_for(double operations);

namespace detail {
void run_team(int threads, void (*body)(Team&, const void*), const void* context);
}

// Runs body(Team&) on up to `threads` threads; on one while another parallel region of this process is running, so that
// concurrent callers share one budget. The body must not throw.
template <typename Body>
void parallel(int threads, Body&& body) {
  using Plain = std::remove_reference_t<Body>;
  detail::run_team(
      threads, [](Team& team, const void* context) { (*static_cast<const Plain*>(context))(team); }, &body);
}

}  // namespace recurlm
