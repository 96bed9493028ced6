// When a call should leave the other cores alone, on a clock that is told; and that more threads than cores come all the same.
#include "cpu/contention.h"
#include "cpu/threads.h"

#include <atomic>
#include <cstdio>
#include <stdexcept>

namespace {

using recurlm::Contention;
using std::chrono::milliseconds;

void require(bool ok, const char* what) {
  if (!ok) throw std::runtime_error(what);
}

void check() {
  Contention contention;
  Contention::Clock::time_point now{std::chrono::hours(1)};
  const auto report = [&](int waited, bool preempted, int threads = 2, int elapsed = 30) {
    now += milliseconds(elapsed);
    contention.report(now, milliseconds(elapsed), milliseconds(waited), threads, preempted);
    return contention.backs_off(now);
  };
  require(!contention.backs_off(now), "backs off before anything happened");
  require(!report(29, false), "backs off for an uneven share of work");
  require(!report(20, true), "backs off for short waits");
  require(!report(29 + 29, true, 4), "backs off for the waits of two of three threads");
  require(!report(3, true, 2, 3), "backs off for a single moment");
  for (int i = 0; i < 6; ++i) require(!report(0, false, 2, 3), "backs off for what is past");
  require(!report(2 * 63, true, 64, 2), "many threads make a moment longer");
  now += Contention::longest;
  for (int i = 0; i < 4; ++i) require(!report(3, true, 2, 4), "judges too early, or by what is long past");
  require(report(3, true, 2, 4), "does not back off for many short calls");
  now += Contention::longest;
  require(report(21, true), "does not back off");
  require(!contention.backs_off(now + Contention::shortest), "does not try again");
  // It is tried again after every pause, and always the same.
  Contention::Duration pause = Contention::shortest;
  for (int i = 0; i < 20; ++i) {
    now += pause;
    while (contention.backs_off(now)) now += milliseconds(1);
    const auto start = now;
    while (!report(3, true, 2, 4)) require(now - start < milliseconds(100), "does not back off again");
    pause = Contention::Duration::zero();
  }
  require(contention.backs_off(now + Contention::longest - milliseconds(1)), "the pauses do not grow");
  require(!contention.backs_off(now + Contention::longest), "the pauses grow without end");
  now += Contention::longest + Contention::longest + milliseconds(1);
  report(21, true);
  require(!contention.backs_off(now + Contention::shortest), "a quiet time is not rewarded");
}

void check_teams() {
  const int threads = 3 * recurlm::available_cores() + 1;
  for (int i = 0; i < 100; ++i) {
    std::atomic<int> came{0};
    recurlm::parallel(threads, [&](recurlm::Team& team) {
      ++came;
      team.barrier();
    });
    require(came == threads || !recurlm::has_openmp(), "fewer threads than were asked for");
  }
}

}  // namespace

int main() try {
  check();
  check_teams();
  return 0;
} catch (const std::exception& error) {
  std::fprintf(stderr, "%s\n", error.what());
  return 1;
}
