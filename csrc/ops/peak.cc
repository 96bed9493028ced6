#include "ops/peak.h"

#include <algorithm>
#include <chrono>
#include <vector>

#include "cpu/threads.h"
#include "kernels/table.h"

namespace recurlm {

double measure_peak(double seconds, int threads) {
  using Clock = std::chrono::steady_clock;
  const auto elapsed = [](Clock::time_point since) {
    return std::chrono::duration<double>(Clock::now() - since).count();
  };
  double best = 0;
  index rounds = 100000;
  for (const auto start = Clock::now(); elapsed(start) < seconds;) {
    std::vector<double> operations(static_cast<std::size_t>(threads));
    const auto slice = Clock::now();
    parallel(threads, [&](Team& team) {
      float sink[16] = {0.999f, 1e-3f};
      operations[static_cast<std::size_t>(team.id)] = kernels::table().multiply_add_registers(rounds, sink);
    });
    const double time = elapsed(slice);
    double total = 0;
    for (double part : operations) total += part;
    best = std::max(best, total / time * 1e-9);
    if (time < 0.02) rounds *= 2;
  }
  return best;
}

}  // namespace recurlm
