#include "ops/penalties.h"

#include <numeric>
#include <vector>

#include "kernels/table.h"
#include "ops/blocks.h"

namespace recurlm {

namespace {

// visit(offset, count) for blocks of a run of elements, shared among threads; the sum of what it returns, in order.
template <typename Visit>
double sum_over_blocks(index count, double operations, Visit&& visit) {
  const ParameterBlocks blocks(std::vector<Elements>{{count}});
  std::vector<double> parts(static_cast<std::size_t>(blocks.count()));
  parallel(threads_for(operations), [&](Team& team) {
    blocks.for_share(team, [&](index block, index, index offset, index length) {
      parts[static_cast<std::size_t>(block)] = visit(offset, length);
    });
  });
  return std::accumulate(parts.begin(), parts.end(), 0.0);
}

constexpr double operations_per_element = 4;

}  // namespace

double penalty(index count, const float* x, double l1, double l2, float* gradient) {
  const auto& k = kernels::table();
  return sum_over_blocks(count, operations_per_element * static_cast<double>(count), [&](index first, index length) {
    if (gradient) k.penalty_gradient(length, x + first, static_cast<float>(l1), static_cast<float>(l2), gradient + first);
    return (l1 != 0 ? l1 * k.absolute_sum(length, x + first) : 0) + (l2 != 0 ? l2 * k.squared_norm(length, x + first) : 0);
  });
}

double difference_penalty(index steps, index width, const float* x, double factor, float* gradient) {
  const auto& k = kernels::table();
  const double operations = operations_per_element * static_cast<double>(steps * width);
  return sum_over_blocks(width, operations, [&](index first, index length) {
    double total = 0;
    for (index t = 1; t < steps; ++t) {
      const index at = t * width + first, before = at - width;
      total += k.squared_distance(length, x + at, x + before);
      if (gradient) k.difference_gradient(length, x + before, x + at, static_cast<float>(factor), gradient + before, gradient + at);
    }
    return factor * total;
  });
}

}  // namespace recurlm
