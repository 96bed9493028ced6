// The projection to the vocabulary in blocks of classes, each followed by its softmax statistics while its logits are in the
// cache, so that no second pass over the vocabulary is needed.
#pragma once

#include "infer/packed_model.h"

namespace recurlm {

using kernels::SoftmaxBlock;

constexpr index block_classes = 256;

// A row of logits, and the statistics of its blocks for one scale (the inverse temperature).
struct SoftmaxRow {
  index classes;
  const float* logits;
  const SoftmaxBlock* blocks;
  double scale;

  index block_count() const { return ceil_div(classes, block_classes); }
};

// The first maximum, and the sum of exp(scale * (logit - maximum)) over all classes; a logit that is not finite shows in it.
struct SoftmaxTotal {
  double maximum, sum;
  std::int32_t at;

  bool finite() const;
  // Of a logit, where the scale is 1.
  float log_prob(float logit) const;
};

SoftmaxTotal total_of(const SoftmaxRow& row);

// The `count` greatest of so many values above -infinity, in descending order, of equals the first; behind them -1 and -infinity.
void greatest(index size, const float* values, index count, std::int32_t* places, float* found);

// The `count` most probable classes of a row of scale 1, in descending order, of equals the first; -1 where fewer have a logit above
// -infinity. The maxima of the blocks may be too high.
void most_probable(const SoftmaxRow& row, const SoftmaxTotal& total, index count, std::int32_t* ids, float* log_probs);

class OutputLayer {
 public:
  OutputLayer(Workspace::Frame& frame, const PackedModel& model, int threads);

  index blocks() const { return ceil_div(classes_, block_classes); }
  index block_size(index block) const {
    return classes_ - block * block_classes < block_classes ? classes_ - block * block_classes : block_classes;
  }
  // logits (rows, block_size), `ld` apart, of h (rows, H).
  void multiply_block(const Team& team, const Operand& h, index block, float* logits, index ld) const;

 private:
  index classes_;
  const Column* columns_;  // within a block
  RightOperand kernel_;
  const float* bias_;
};

}  // namespace recurlm
