#include "ops/reductions.h"

#include <algorithm>
#include <vector>

#include "cpu/threads.h"
#include "kernels/table.h"
#include "ops/blocks.h"

namespace recurlm {

double weighted_sum(index count, const float* values, const float* weights) {
  double total = 0;
  for (index i = 0; i < count; i += parameter_block) {
    double part = 0;
    for (index j = i; j < std::min(i + parameter_block, count); ++j)
      part += static_cast<double>(values[j]) * static_cast<double>(weights ? weights[j] : 1.0f);
    total += part;
  }
  return total;
}

void squared_norms(index arrays, const float* const* data, const index* counts, double* norms) {
  const ParameterBlocks blocks(arrays, counts);
  std::vector<double> parts(static_cast<std::size_t>(blocks.count()));
  parallel(threads_for(static_cast<double>(blocks.elements())), [&](Team& team) {
    blocks.for_share(team, [&](index block, index array, index first, index count) {
      parts[static_cast<std::size_t>(block)] = kernels::table().squared_norm(count, data[array] + first);
    });
  });
  for (index array = 0; array < arrays; ++array) {
    norms[array] = 0;
    for (index block = blocks.begin(array); block < blocks.begin(array + 1); ++block)
      norms[array] += parts[static_cast<std::size_t>(block)];
  }
}

}  // namespace recurlm
