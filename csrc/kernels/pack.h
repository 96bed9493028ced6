// Blocks of a matrix, copied or transposed into a panel.
#pragma once

#include "kernels/vec.h"

namespace recurlm::kernels::RECURLM_KERNEL_ISA {
namespace {

// to[r * 32 + c] = from[r * ld + c] for at most 16 columns; the others of the half panel become 0.
void copy(index rows, index cols, const float* from, index ld, float* to) {
  for (index r = 0; r < rows; ++r, from += ld, to += panel_width)
    for (index c = 0; c < half_width; c += lanes) store(to + c, load_n(from + c, tail(cols, c)));
}

#if defined(RECURLM_KERNEL_neon)
RECURLM_INLINE void transpose_4x4(const float* from, index ld, float* to, index to_ld) {
  const float32x4x2_t top = vtrnq_f32(vld1q_f32(from), vld1q_f32(from + ld));
  const float32x4x2_t bottom = vtrnq_f32(vld1q_f32(from + 2 * ld), vld1q_f32(from + 3 * ld));
  vst1q_f32(to, vcombine_f32(vget_low_f32(top.val[0]), vget_low_f32(bottom.val[0])));
  vst1q_f32(to + to_ld, vcombine_f32(vget_low_f32(top.val[1]), vget_low_f32(bottom.val[1])));
  vst1q_f32(to + 2 * to_ld, vcombine_f32(vget_high_f32(top.val[0]), vget_high_f32(bottom.val[0])));
  vst1q_f32(to + 3 * to_ld, vcombine_f32(vget_high_f32(top.val[1]), vget_high_f32(bottom.val[1])));
}
#else
RECURLM_INLINE void transpose_4x4(const float* from, index ld, float* to, index to_ld) {
  __m128 r0 = _mm_loadu_ps(from), r1 = _mm_loadu_ps(from + ld);
  __m128 r2 = _mm_loadu_ps(from + 2 * ld), r3 = _mm_loadu_ps(from + 3 * ld);
  _MM_TRANSPOSE4_PS(r0, r1, r2, r3);
  _mm_storeu_ps(to, r0);
  _mm_storeu_ps(to + to_ld, r1);
  _mm_storeu_ps(to + 2 * to_ld, r2);
  _mm_storeu_ps(to + 3 * to_ld, r3);
}
#endif

// to[c * to_ld + r] = from[r * ld + c]. Few rows at a time, so that what is read of them stays in the cache.
void transpose(index rows, index cols, const float* from, index ld, float* to, index to_ld) {
  const index whole_rows = rows / 4 * 4, whole_cols = cols / 4 * 4;
  for (index c = 0; c < whole_cols; c += 4)
    for (index r = 0; r < whole_rows; r += 4) transpose_4x4(from + r * ld + c, ld, to + c * to_ld + r, to_ld);
  for (index c = 0; c < cols; ++c)
    for (index r = c < whole_cols ? whole_rows : 0; r < rows; ++r) to[c * to_ld + r] = from[r * ld + c];
}

}  // namespace
}  // namespace recurlm::kernels::RECURLM_KERNEL_ISA
