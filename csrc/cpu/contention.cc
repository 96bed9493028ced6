#include "cpu/contention.h"

#include <algorithm>

namespace recurlm {

bool Contention::backs_off(Clock::time_point now) const {
  return now.time_since_epoch().count() < until_.load(std::memory_order_relaxed);
}

void Contention::report(Clock::time_point now, Duration elapsed, Duration waited, int threads, bool preempted) {
  observed_ += elapsed * (threads - 1);
  if (preempted) waited_ += waited;
  if (observed_ < window) return;
  // A third of the time of all but one thread: an uneven share of the work costs less, and a serial part is not preempted.
  const bool contended = 3 * waited_ > observed_;
  observed_ = waited_ = {};
  if (!contended) return;
  const Clock::time_point until{Clock::duration(until_.load(std::memory_order_relaxed))};
  next_ = now - until > next_ ? shortest : std::min(2 * next_, longest);  // anew, where it went well for as long as it was avoided
  until_.store((now + next_).time_since_epoch().count(), std::memory_order_relaxed);
}

}  // namespace recurlm
