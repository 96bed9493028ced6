// Whether other work competes for the cores.
//
// Threads that meet at a barrier every few microseconds need all of their cores at once. Where another process holds one of them,
// each barrier waits for that process's time slice, and two threads become many times slower than one. So where threads mostly
// waited, and were preempted, calls take one thread, for a while that doubles as long as that goes on. Judged are some calls
// together: a thread of this process that wakes up for a moment, to read a request, is no reason. Whoever asks for more threads than
// there are cores gets them all the same.
#pragma once

#include <atomic>
#include <chrono>

namespace recurlm {

class Contention {
 public:
  using Clock = std::chrono::steady_clock;
  using Duration = Clock::duration;

  // Whether a call that begins now should leave the other cores alone.
  bool backs_off(Clock::time_point now) const;
  // A call of several threads took `elapsed`, of which they together waited `waited`; `preempted`: something else ran instead.
  void report(Clock::time_point now, Duration elapsed, Duration waited, int threads, bool preempted);

  static constexpr Duration window = std::chrono::milliseconds(20);
  static constexpr Duration shortest = std::chrono::milliseconds(20), longest = std::chrono::seconds(1);

 private:
  std::atomic<Clock::rep> until_{0};
  // Touched by the one call that has several threads.
  Duration next_ = shortest;
  Clock::time_point began_{};                      // of the window
  Duration elapsed_{0}, expected_{0}, waited_{0};  // of its calls; of all their threads but one
};

}  // namespace recurlm
