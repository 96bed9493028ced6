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
  // A third of the time of all but one thread: an uneven share of the work costs less, and a serial part is not preempted.
  if (3 * waited_ <= expected_) return;
  const Clock::time_point until{Clock::duration(until_.load(std::memory_order_relaxed))};
  next_ = began_ - until > next_ ? shortest : std::min(2 * next_, longest);  // anew, where it went well for as long as it was avoided
  until_.store((now + next_).time_since_epoch().count(), std::memory_order_relaxed);
}

}  // namespace recurlm
