#include "ops/reductions.h"

#include <algorithm>
#include <vector>

#include "cpu/threads.h"
#include "kernels/table.h"

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

void squared_norms(const std::vector<const float*>& data, const std::vector<Elements>& elements, double* norms) {
  const ParameterBlocks blocks(elements);
  std::vector<double> parts(static_cast<std::size_t>(blocks.count()));
  parallel(threads_for(static_cast<double>(blocks.elements())), [&](Team& team) {
    blocks.for_share(team, [&](index block, index array, index offset, index count) {
      parts[static_cast<std::size_t>(block)] +=
          kernels::table().squared_norm(count, data[static_cast<std::size_t>(array)] + offset);
    });
  });
  for (index array = 0; array < static_cast<index>(data.size()); ++array) {
    norms[array] = 0;
    for (index block = blocks.begin(array); block < blocks.begin(array + 1); ++block)
      norms[array] += parts[static_cast<std::size_t>(block)];
  }
}

}  // namespace recurlm
