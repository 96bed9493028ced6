#include "ops/layer_norm.h"

#include <algorithm>

#include "cpu/threads.h"
#include "kernels/table.h"

namespace recurlm {

namespace {

// Sums of parameters' gradients are cut here, whatever the number of threads; and one chain over thousands of rows would lose
// digits that blocks keep.
constexpr index row_block = 64;

int threads_of(ConstMatrixView x) { return threads_for(10.0 * static_cast<double>(x.size())); }

void sum_blocks(index blocks, index cols, const float* parts, bool accumulate, float* out) {
  if (!out) return;
  if (!accumulate) std::fill_n(out, cols, 0.0f);
  kernels::table().column_sums(blocks, cols, parts, cols, out);
}

}  // namespace

void layer_norm_forward(ConstMatrixView x, const LayerNormWeights& weights, float epsilon, float* y, float* statistics) {
  parallel(threads_of(x), [&](Team& team) {
    const Range share = team.share(x.rows);
    const index at = share.begin;
    kernels::table().layer_norm_forward({share.end - at, x.cols, weights.gamma}, x.row(at), weights.beta, epsilon,
                                        y + at * x.cols, statistics + 2 * at);
  });
}

void layer_norm_backward(ConstMatrixView x, const float* gamma, const float* statistics, const float* dy, float* dx,
                         const LayerNormGradients& gradients, Workspace& workspace) {
  Workspace::Frame frame(workspace);
  const index blocks = ceil_div(x.rows, row_block);
  auto* dgamma = frame.take<float>(blocks * x.cols);
  auto* dbeta = frame.take<float>(blocks * x.cols);
  parallel(threads_of(x), [&](Team& team) {
    const Range share = team.share(blocks);
    for (index block = share.begin; block < share.end; ++block) {
      const index first = block * row_block, at = first * x.cols, rows = std::min(row_block, x.rows - first);
      float *block_dgamma = dgamma + block * x.cols, *block_dbeta = dbeta + block * x.cols;
      std::fill_n(block_dgamma, x.cols, 0.0f);
      std::fill_n(block_dbeta, x.cols, 0.0f);
      kernels::table().layer_norm_backward({rows, x.cols, gamma}, x.data + at, statistics + 2 * first, dy + at, dx + at,
                                           block_dgamma, block_dbeta);
    }
  });
  sum_blocks(blocks, x.cols, dgamma, gradients.accumulate, gradients.gamma);
  sum_blocks(blocks, x.cols, dbeta, gradients.accumulate, gradients.beta);
}

}  // namespace recurlm
