// Inverted dropout (Srivastava et al. 2014). Its mask is a function of (seed, stream, step, position), so the backward pass draws
// it again instead of keeping it. A noise shape with extents of 1 shares a draw along those axes: over time it gives the
// variational dropout of Gal & Ghahramani (2016).
#pragma once

#include <array>
#include <cstdint>

#include "base/types.h"

namespace recurlm {

struct DropoutKey {
  double rate;
  std::uint64_t seed;
  std::uint64_t stream;  // which dropout of the model, below 2^48
  std::uint64_t step;    // below 2^40
};

// What the elements [first, first + count) of a row of `cols` are multiplied by: 0 or 1 / (1 - rate). `first` is a multiple of 4.
void dropout_factors(const DropoutKey& key, index row, index cols, index first, index count, float* factors);

struct DropoutMask {
  DropoutKey key;
  std::array<index, 3> shape;        // of x, padded in front with 1
  std::array<index, 3> noise_shape;  // each extent x's or 1
};

void dropout(const DropoutMask& mask, const float* x, float* y);  // y may be x

}  // namespace recurlm
