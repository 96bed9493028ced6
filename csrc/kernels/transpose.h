// A block of a matrix, transposed into a panel.
#pragma once

#include "kernels/vec.h"

namespace recurlm::kernels::RECURLM_KERNEL_ISA {
namespace {

RECURLM_INLINE void transpose_4x4(const float* from, index ld, float* to) {
  __m128 r0 = _mm_loadu_ps(from), r1 = _mm_loadu_ps(from + ld);
  __m128 r2 = _mm_loadu_ps(from + 2 * ld), r3 = _mm_loadu_ps(from + 3 * ld);
  _MM_TRANSPOSE4_PS(r0, r1, r2, r3);
  _mm_storeu_ps(to, r0);
  _mm_storeu_ps(to + panel_width, r1);
  _mm_storeu_ps(to + 2 * panel_width, r2);
  _mm_storeu_ps(to + 3 * panel_width, r3);
}

// to[c * 32 + r] = from[r * ld + c] for at most 32 rows.
void transpose(index rows, index cols, const float* from, index ld, float* to) {
  const index whole_rows = rows / 4 * 4, whole_cols = cols / 4 * 4;
  for (index r = 0; r < whole_rows; r += 4)
    for (index c = 0; c < whole_cols; c += 4) transpose_4x4(from + r * ld + c, ld, to + c * panel_width + r);
  for (index r = 0; r < rows; ++r)
    for (index c = r < whole_rows ? whole_cols : 0; c < cols; ++c) to[c * panel_width + r] = from[r * ld + c];
}

}  // namespace
}  // namespace recurlm::kernels::RECURLM_KERNEL_ISA
