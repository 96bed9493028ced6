// Operands of a product rounded to bfloat16.
#pragma once

#include "kernels/vec.h"

namespace recurlm::kernels::RECURLM_KERNEL_ISA {
namespace {

// Integers, so that loops over it become vector code on every instruction set. Rounded up, the bits of a NaN could become those of
// an infinity.
RECURLM_INLINE std::uint32_t bfloat16_bits(float x) {
  std::uint32_t bits;
  __builtin_memcpy(&bits, &x, sizeof bits);
  const std::uint32_t rounded = (bits + 0x7fff + (bits >> 16 & 1)) >> 16, nan = bits >> 16 | 0x40;
  return (bits & 0x7fffffff) > 0x7f800000 ? nan : rounded;
}

void round_rows(index rows, index depth, const float* a, index a_row, index a_panel, bfloat16* to, index to_row) {
  for (index r = 0; r < rows; ++r, a += a_row, to += to_row) {
    for (index k = 0; k < depth; k += panel_width) {
      const float* from = a + k / panel_width * a_panel;
      const index count = depth - k < panel_width ? depth - k : panel_width;
      for (index i = 0; i < count; ++i) to[k + i].bits = static_cast<std::uint16_t>(bfloat16_bits(from[i]));
    }
    if (depth % 2) to[depth].bits = 0;
  }
}

void pair_rows(index rows, const float* panel, bfloat16* to) {
  const float none[panel_width] = {};
  for (index r = 0; r < rows; r += 2, panel += 2 * panel_width, to += 2 * panel_width) {
    const float* odd = r + 1 < rows ? panel + panel_width : none;
    for (index c = 0; c < panel_width; ++c) {
      const std::uint32_t pair = bfloat16_bits(panel[c]) | bfloat16_bits(odd[c]) << 16;
      __builtin_memcpy(to + 2 * c, &pair, sizeof pair);
    }
  }
}

}  // namespace
}  // namespace recurlm::kernels::RECURLM_KERNEL_ISA
