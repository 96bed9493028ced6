#include "cpu/contention.h"

#include <algorithm>

namespace recurlm {

bool Contention::backs_off(Clock::time_point now) const {
  return now.time_since_epoch().count() < until_.load(std::memory_order_relaxed);
}

void Contention::report(Clock::time_point now, Duration elapsed, Duration waited, int threads, bool preempted) {
  constexpr int most_idle = 10;  // windows: what was longer ago tells nothing of today
  if (elapsed_ == Duration::zero() || now - began_ > most_idle * window) {
    began_ = now - elapsed;
    elapsed_ = expected_ = waited_ = Duration::zero();
  }
  elapsed_ += elapsed;
  expected_ += elapsed * (threads - 1);
  if (preempted) waited_ += waited;
  if (elapsed_ < window) return;
  elapsed_ = Duration::zero();
  // Two thirds of the time of all but one thread: two threads that lose less still do more than one, which has half of the caches.
  // A server whose event loop takes a core now and then waits for half of the time; one thread would be a fifth slower there.
  if (3 * waited_ <= 2 * expected_) return;
  const Clock::time_point until{Clock::duration(until_.load(std::memory_order_relaxed))};
  next_ = began_ - until > next_ ? shortest : std::min(2 * next_, longest);  // anew, where it went well for as long as it was avoided
  until_.store((now + next_).time_since_epoch().count(), std::memory_order_relaxed);
}

}  // namespace recurlm
