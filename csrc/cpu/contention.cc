#include "cpu/contention.h"

#include <algorithm>

namespace recurlm {

bool Contention::backs_off(Clock::time_point now) const {
  return now.time_since_epoch().count() < until_.load(std::memory_order_relaxed);
}

void Contention::report(Clock::time_point now, Duration elapsed, Duration waited, int threads, bool preempted) {
  // A third of the time of all but one thread: an uneven share of the work costs less, and a serial part is not preempted.
  const bool contended = preempted && 3 * waited > elapsed * (threads - 1);
  if (contended) {
    until_.store((now + next_).time_since_epoch().count(), std::memory_order_relaxed);
    next_ = std::min(2 * next_, longest);
  } else if (elapsed > std::chrono::milliseconds(1)) {
    next_ = std::max(next_ / 2, shortest);
  }
}

}  // namespace recurlm
