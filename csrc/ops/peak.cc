#include "ops/peak.h"

#include <algorithm>
#include <chrono>
#include <numeric>
#include <vector>

#include "base/workspace.h"
#include "cpu/threads.h"
#include "kernels/table.h"

namespace recurlm {

namespace {

using Clock = std::chrono::steady_clock;

double elapsed(Clock::time_point since) { return std::chrono::duration<double>(Clock::now() - since).count(); }

// The best rate of slices within `seconds`, or of five; slice(rounds) returns what it did, and rounds grow until it takes 20 ms.
template <typename Slice>
double best_rate(double seconds, index rounds, Slice&& slice) {
  constexpr int least_slices = 5;  // the first may wait for threads to wake, or for a busy machine
  const auto start = Clock::now();
  double best = 0;
  for (int slices = 0; slices < least_slices || elapsed(start) < seconds; ++slices) {
    const auto begin = Clock::now();
    const double work = slice(rounds);
    const double time = elapsed(begin);
    best = std::max(best, work / time);
    if (time < 0.02) rounds *= 2;
  }
  return best;
}

}  // namespace

double measure_peak(double seconds, int threads) {
  std::vector<double> operations(static_cast<std::size_t>(threads));
  return 1e-9 * best_rate(seconds, 100000, [&](index rounds) {
    std::fill(operations.begin(), operations.end(), 0.0);  // fewer threads may come than before
    parallel(threads, [&](Team& team) {
      float sink[16] = {0.999f, 1e-3f};
      operations[static_cast<std::size_t>(team.id)] = kernels::table().multiply_add_registers(rounds, sink);
    });
    return std::accumulate(operations.begin(), operations.end(), 0.0);
  });
}

double measure_bandwidth(double bytes, double seconds, int threads) {
  const auto count = static_cast<index>(bytes / sizeof(float));
  Workspace workspace;
  Workspace::Frame frame(workspace);
  auto* memory = frame.take<float>(count);
  std::fill_n(memory, count, 0.0f);
  std::vector<float> sums(static_cast<std::size_t>(threads));
  return 1e-9 * best_rate(seconds, 1, [&](index rounds) {
    parallel(threads, [&](Team& team) {
      const Range share = team.share(count);
      for (index i = 0; i < rounds; ++i)
        sums[static_cast<std::size_t>(team.id)] += kernels::table().add_up(share.end - share.begin, memory + share.begin);
    });
    return bytes * static_cast<double>(rounds);
  });
}

}  // namespace recurlm
