#include "ops/projection_cross_entropy.h"

#include <algorithm>
#include <limits>

#include "ops/reductions.h"

namespace recurlm {

namespace {

// Rows of logits that exist at a time: enough that reading and writing the weights' gradient once a chunk costs little beside
// the products (each of its elements meets 256 rows), few enough that memory does not grow with the number of tokens.
// Small vocabularies take more rows, since each chunk ends with a few barriers.
// Chunks are even, so that no short one is left for the end.
index chunk_rows(index rows, index classes) {
  const index most = std::max(index{256}, (index{1} << 18) / classes);
  return std::max(ceil_div(rows, std::max(ceil_div(rows, most), index{1})), index{1});
}

kernels::SoftmaxCrossEntropy rows_of(const Panels& logits, index classes, index first, const std::int32_t* targets,
                                     const float* weights, const TokenScores& scores, bool gradient) {
  kernels::SoftmaxCrossEntropy s{};
  s.classes = classes;
  s.logits = logits.data;
  s.panel = logits.stride;
  s.targets = targets + first;
  s.weights = weights ? weights + first : nullptr;
  s.log_probs = scores.log_probs + first;
  s.ranks = scores.ranks + first;
  s.predictions = scores.predictions + first;
  s.gradient = gradient;
  return s;
}

// This thread's rows of a chunk.
void apply_softmax(const Team& team, kernels::SoftmaxCrossEntropy s, index rows) {
  const Range share = team.share(rows);
  s.rows = share.end - share.begin;
  s.logits += share.begin * panel_width;
  s.targets += share.begin;
  if (s.weights) s.weights += share.begin;
  s.log_probs += share.begin;
  s.ranks += share.begin;
  s.predictions += share.begin;
  kernels::table().softmax_cross_entropy(s);
}

}  // namespace

double projection_cross_entropy(ConstMatrixView x, const LinearWeights& projection, const std::int32_t* targets,
                                const float* weights, const TokenScores& scores, MatrixView dx,
                                const LinearGradients& gradients, Workspace& workspace) {
  const index classes = projection.outputs(), chunk = chunk_rows(x.rows, classes);
  const bool backward = dx || gradients.kernel || gradients.bias;
  Workspace::Frame frame(workspace);
  PackedLinear linear(frame, projection);
  linear.take_forward(frame);
  if (dx) linear.take_backward(frame);
  const Panels logits = frame.take_panels(chunk, panels_of(classes));
  const Panels x_packed = gradients.kernel ? frame.take_panels(chunk, panels_of(x.cols)) : Panels{};
  const Column* logit_columns = packed_columns(frame, logits);
  constexpr float minus_infinity = -std::numeric_limits<float>::infinity();

  const double operations = 2.0 * static_cast<double>(std::min(x.rows, chunk) * x.cols * classes);
  parallel(threads_for(operations), [&](Team& team) {
    linear.pack_forward(team, minus_infinity);
    if (dx) linear.pack_backward(team);
    team.barrier();
    // At least one pass, so that the gradients of an empty batch are written.
    for (index first = 0; first == 0 || first < x.rows; first += chunk) {
      const index rows = std::min(chunk, x.rows - first);
      const ConstMatrixView x_chunk{x.row(first), rows, x.cols};
      const Panels z{logits.data, rows, logits.panels, logits.stride};
      multiply(team, {Operand::row_major(x_chunk), linear.kernel, {z.data, panel_width, logit_columns}, Init::bias, linear.bias});
      const Panels xp{x_packed.data, rows, x_packed.panels, x_packed.stride};
      if (xp.data) pack(team, x_chunk, linear.input_columns, xp);
      team.barrier();
      apply_softmax(team, rows_of(z, classes, first, targets, weights, scores, backward), rows);
      if (!backward) {
        team.barrier();
        continue;
      }
      team.barrier();
      const bool accumulate = gradients.accumulate || first > 0;
      if (dx)
        multiply(team, {Operand::packed(z, classes), linear.transposed, {dx.row(first), dx.cols, linear.input_columns}});
      if (gradients.kernel)
        linear_weight_gradient(team, linear, xp, z, gradients.kernel, gradient_init(accumulate));
      if (gradients.bias) column_sums(team, z, linear.output_columns, accumulate, gradients.bias);
      team.barrier();
    }
  });
  return -weighted_sum(x.rows, scores.log_probs, weights);
}

}  // namespace recurlm
