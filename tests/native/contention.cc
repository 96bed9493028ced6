// When a call should leave the other cores alone, on a clock that is told.
#include "cpu/contention.h"

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
  const auto report = [&](int waited, bool preempted, int threads = 2) {
    contention.report(now, milliseconds(30), milliseconds(waited), threads, preempted);
    return contention.backs_off(now);
  };
  require(!contention.backs_off(now), "backs off before anything happened");
  require(!report(29, false), "backs off for an uneven share of work");
  require(!report(9, true), "backs off for short waits");
  require(!report(25, true, 4), "backs off for short waits of one of three threads");
  require(report(20, true), "does not back off");
  require(!contention.backs_off(now + Contention::shortest), "does not try again");
  for (int i = 0; i < 20; ++i) report(20, true);
  require(contention.backs_off(now + Contention::longest - milliseconds(1)), "the pauses do not grow");
  require(!contention.backs_off(now + Contention::longest), "the pauses grow without end");
  for (int i = 0; i < 20; ++i) contention.report(now, milliseconds(30), milliseconds(0), 2, false);
  now += Contention::longest;
  report(20, true);
  require(!contention.backs_off(now + Contention::shortest), "a quiet time is not rewarded");
}

}  // namespace

int main() try {
  check();
  return 0;
} catch (const std::exception& error) {
  std::fprintf(stderr, "%s\n", error.what());
  return 1;
}
