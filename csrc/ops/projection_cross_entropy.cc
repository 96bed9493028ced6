#include "ops/projection_cross_entropy.h"

#include <algorithm>
#include <limits>

#include "ops/reductions.h"

namespace recurlm {

namespace {

// Rows of logits that exist at a time: enough that reading and writing the weights' gradient once a chunk costs little beside
// the products (each of its elements meets hundreds of rows), few enough that memory does not grow with the number of tokens:
// 32 MB up to 32,000 classes. Small vocabularies take more rows, since each chunk ends with a few barriers.
index most_chunk_rows(index classes) {
  const index rows = std::clamp((index{1} << 23) / classes, index{256}, index{512});
  return std::max(rows, (index{1} << 18) / classes);
}

// Rows for which there is room, and threads: a later call with fewer rows can have larger chunks, and needs no more.
index chunk_room(index rows, index classes) { return std::min(rows, most_chunk_rows(classes)); }

// Chunks are even, so that no short one is left for the end.
index chunk_rows(index rows, index classes) {
  return std::max(ceil_div(rows, std::max(ceil_div(rows, most_chunk_rows(classes)), index{1})), index{1});
}

// One call: what it takes from the workspace, and the arithmetic that each thread of a team shares.
class Projection {
 public:
  Projection(Workspace::Frame& frame, ConstMatrixView x, const LinearWeights& weights, const std::int32_t* targets,
             const float* row_weights, float smoothing, const TokenScores& scores, MatrixView dx, const LinearGradients& out,
             int threads);
  const float* mean_log_probs() const { return mean_log_probs_; }
  void operator()(Team& team) const;

 private:
  void chunk(Team& team, index first, index rows) const;
  void softmax(const Team& team, index first, const Panels& logits) const;
  void gradients(Team& team, index first, const Panels& logits) const;

  const ConstMatrixView x_;
  const std::int32_t* targets_;
  const float* row_weights_;
  const float smoothing_;
  float* mean_log_probs_;  // (R), where there is smoothing
  const TokenScores scores_;
  const MatrixView dx_;
  const LinearGradients out_;
  const LinearOperands linear_;
  const index chunk_;
  RightOperand kernel_, transposed_;
  LinearWeightGradient weight_gradient_;
  Panels logits_;
  const Column* logit_columns_;
};

Projection::Projection(Workspace::Frame& frame, ConstMatrixView x, const LinearWeights& weights,
                       const std::int32_t* targets, const float* row_weights, float smoothing,
                       const TokenScores& scores, MatrixView dx, const LinearGradients& out, int threads)
    : x_(x), targets_(targets), row_weights_(row_weights), smoothing_(smoothing),
      mean_log_probs_(smoothing != 0.0f ? frame.take<float>(x.rows) : nullptr), scores_(scores), dx_(dx), out_(out),
      linear_(frame, weights), chunk_(chunk_rows(x.rows, weights.outputs())) {
  const index room = chunk_room(x.rows, weights.outputs());
  kernel_ = RightOperand(frame, linear_.forward(), weights.precision, room, threads);
  if (dx) transposed_ = RightOperand(frame, linear_.backward(), weights.precision, room, threads);
  logits_ = frame.take_panels(room, panels_of(weights.outputs()));
  if (out.kernel) weight_gradient_ = LinearWeightGradient(frame, linear_, logits_, threads);
  logit_columns_ = packed_columns(frame, logits_);
}

void Projection::operator()(Team& team) const {
  // Columns that pad the last panel have probability 0.
  kernel_.prepare(team);
  if (dx_) transposed_.prepare(team);
  pack_bias(team, linear_.weights.bias, linear_.output_columns, kernel_.panels(), -std::numeric_limits<float>::infinity(),
            linear_.bias);
  team.barrier();
  // At least one chunk, so that the gradients of an empty batch are written.
  for (index first = 0; first == 0 || first < x_.rows; first += chunk_)
    chunk(team, first, std::min(chunk_, x_.rows - first));
}

void Projection::chunk(Team& team, index first, index rows) const {
  const ConstMatrixView x{x_.row(first), rows, x_.cols};
  const Panels logits{logits_.data, rows, logits_.panels, logits_.stride};
  multiply(team, {Operand::row_major(x), kernel_, {logits.data, panel_width, logit_columns_}, Init::bias,
                  linear_.bias});
  if (out_.kernel) weight_gradient_.prepare(team, x);
  team.barrier();
  softmax(team, first, logits);
  team.barrier();
  gradients(team, first, logits);
  team.barrier();
}

// This thread's rows.
void Projection::softmax(const Team& team, index first, const Panels& logits) const {
  const Range share = team.share(logits.rows);
  const index row = first + share.begin;
  kernels::SoftmaxCrossEntropy s{};
  s.rows = share.end - share.begin;
  s.classes = linear_.weights.outputs();
  s.logits = logits.at(0, share.begin);
  s.panel = logits.stride;
  s.targets = targets_ + row;
  s.weights = row_weights_ ? row_weights_ + row : nullptr;
  s.smoothing = smoothing_;
  s.log_probs = scores_.log_probs + row;
  s.mean_log_probs = mean_log_probs_ ? mean_log_probs_ + row : nullptr;
  s.ranks = scores_.ranks + row;
  s.predictions = scores_.predictions + row;
  s.gradient = dx_ || out_.kernel || out_.bias;
  kernels::table().softmax_cross_entropy(s);
}

void Projection::gradients(Team& team, index first, const Panels& logits) const {
  const bool accumulate = out_.accumulate || first > 0;
  if (dx_)
    multiply(team, {Operand::packed(logits, linear_.weights.outputs()), transposed_,
                    {dx_.row(first), dx_.cols, linear_.input_columns}});
  if (out_.kernel) weight_gradient_.multiply(team, logits, out_.kernel, gradient_init(accumulate));
  if (out_.bias) column_sums(team, logits, linear_.output_columns, accumulate, out_.bias);
}

}  // namespace

double projection_cross_entropy(ConstMatrixView x, const LinearWeights& weights, const std::int32_t* targets,
                                const float* row_weights, float smoothing, const TokenScores& scores, MatrixView dx,
                                const LinearGradients& gradients, Workspace& workspace) {
  Workspace::Frame frame(workspace);
  const index rows = chunk_room(x.rows, weights.outputs());
  const int threads = threads_for(2.0 * static_cast<double>(rows * x.cols * weights.outputs()));
  const Projection projection(frame, x, weights, targets, row_weights, smoothing, scores, dx, gradients, threads);
  parallel(threads, projection);
  const double of_targets = weighted_sum(x.rows, scores.log_probs, row_weights);
  if (smoothing == 0.0f) return -of_targets;
  const double share = static_cast<double>(smoothing);
  return -((1 - share) * of_targets + share * weighted_sum(x.rows, projection.mean_log_probs(), row_weights));
}

}  // namespace recurlm
