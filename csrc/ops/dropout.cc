#include "ops/dropout.h"

#include <algorithm>

#include "base/random.h"
#include "base/views.h"
#include "cpu/threads.h"

namespace recurlm {

namespace {

constexpr index draws = 4;  // a Philox call gives four numbers, for four positions in a row

constexpr int stream_bits = 24;

// The upper word of a number below 2^40, and in what is free of it 24 bits of the stream.
std::uint32_t upper_word(std::uint64_t number, std::uint64_t stream) {
  return static_cast<std::uint32_t>(number >> 32) ^ static_cast<std::uint32_t>(stream << 8);
}

}  // namespace

void dropout_factors(const DropoutKey& key, index row, index cols, index first, index count, float* factors) {
  const auto threshold = static_cast<std::uint32_t>(std::min(key.rate * 4294967296.0, 4294967295.0));
  const auto scale = static_cast<float>(1 / (1 - key.rate));
  // Each row starts at a multiple of `draws`, so that a row's factors do not depend on the rows before it.
  const auto position = static_cast<std::uint64_t>(row * ceil_div(cols, draws) * draws + first);
  for (index i = 0; i < count; i += draws) {
    const std::uint64_t at = (position + static_cast<std::uint64_t>(i)) / draws;
    const Counter random = philox({static_cast<std::uint32_t>(at), upper_word(at, key.stream),
                                   static_cast<std::uint32_t>(key.step), upper_word(key.step, key.stream >> stream_bits)},
                                  key.seed);
    for (index l = 0; l < std::min(draws, count - i); ++l)
      factors[i + l] = random[static_cast<std::size_t>(l)] < threshold ? 0.0f : scale;
  }
}

void dropout(const DropoutMask& mask, const float* x, float* y) {
  const index planes = mask.shape[0], rows = mask.shape[1], cols = mask.shape[2];
  const index noise_planes = mask.noise_shape[0], noise_rows = mask.noise_shape[1], noise_cols = mask.noise_shape[2];
  constexpr index block = 256;
  parallel(threads_for(10.0 * static_cast<double>(planes * rows * cols)), [&](Team& team) {
    const Range share = team.share(planes * rows);
    for (index r = share.begin; r < share.end; ++r) {
      const index noise_row = (noise_planes == 1 ? 0 : r / rows) * noise_rows + (noise_rows == 1 ? 0 : r % rows);
      for (index first = 0; first < cols; first += block) {
        const index count = std::min(block, cols - first);
        float factors[block];
        const index noise_first = noise_cols == 1 ? 0 : first, noise_count = noise_cols == 1 ? 1 : count;
        dropout_factors(mask.key, noise_row, noise_cols, noise_first, noise_count, factors);
        if (noise_cols == 1) std::fill_n(factors, count, factors[0]);
        for (index i = 0; i < count; ++i) y[r * cols + first + i] = x[r * cols + first + i] * factors[i];
      }
    }
  });
}

}  // namespace recurlm
