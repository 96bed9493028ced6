#include "infer/output.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace recurlm {

bool SoftmaxTotal::finite() const { return std::isfinite(maximum) && std::isfinite(sum) && sum > 0; }

float SoftmaxTotal::log_prob(float logit) const {
  return static_cast<float>(static_cast<double>(logit) - maximum - std::log(sum));
}

SoftmaxTotal total_of(const SoftmaxRow& row) {
  SoftmaxTotal total{-std::numeric_limits<double>::infinity(), 0, 0};
  for (index b = 0; b < row.block_count(); ++b)
    if (const SoftmaxBlock& block = row.blocks[b]; static_cast<double>(block.maximum) > total.maximum) {
      total.maximum = static_cast<double>(block.maximum);
      total.at = static_cast<std::int32_t>(b * block_classes) + block.at;
    }
  for (index b = 0; b < row.block_count(); ++b)
    if (const SoftmaxBlock& block = row.blocks[b]; block.sum != 0.0f)
      total.sum += static_cast<double>(block.sum) *
                   std::exp(row.scale * (static_cast<double>(block.maximum) - total.maximum));
  return total;
}

namespace {

// A sorted list that the few that are wanted are inserted in.
struct Greatest {
  const index count;
  std::int32_t* places;
  float* values;

  Greatest(index count, std::int32_t* places, float* values) : count(count), places(places), values(values) {
    std::fill_n(places, count, -1);
    std::fill_n(values, count, -std::numeric_limits<float>::infinity());
  }
  bool takes(float value) const { return value > values[count - 1]; }
  void offer(float value, index place) const {
    if (!takes(value)) return;
    index at = count - 1;
    for (; at > 0 && value > values[at - 1]; --at) {
      places[at] = places[at - 1];
      values[at] = values[at - 1];
    }
    places[at] = static_cast<std::int32_t>(place);
    values[at] = value;
  }
};

}  // namespace

void greatest(index size, const float* values, index count, std::int32_t* places, float* found) {
  const Greatest list(count, places, found);
  for (index i = 0; i < size; ++i) list.offer(values[i], i);
}

void most_probable(const SoftmaxRow& row, const SoftmaxTotal& total, index count, std::int32_t* ids, float* log_probs) {
  const Greatest list(count, ids, log_probs);
  for (index b = 0; b < row.block_count(); ++b) {
    if (!list.takes(row.blocks[b].maximum)) continue;
    for (index v = b * block_classes; v < std::min(row.classes, (b + 1) * block_classes); ++v) list.offer(row.logits[v], v);
  }
  for (index i = 0; i < count; ++i)
    if (ids[i] >= 0) log_probs[i] = total.log_prob(log_probs[i]);
}

OutputLayer::OutputLayer(Workspace::Frame& frame, const PackedModel& model, int threads)
    : classes_(model.classes()),
      kernel_(frame, model.projection(), threads),
      bias_(model.projection_bias()) {
  const index halves = 2 * panels_of(classes_);
  auto* columns = frame.take<Column>(halves);
  for (index q = 0; q < halves; ++q)
    columns[q] = {q * half_width % block_classes, std::clamp(classes_ - q * half_width, index{0}, half_width)};
  columns_ = columns;
}

void OutputLayer::multiply_block(const Team& team, const Operand& h, index block, float* logits, index ld) const {
  const index panel = block * (block_classes / panel_width);
  multiply_rectangle(team, {h, kernel_, {logits, ld, columns_}, Init::bias, bias_},
                     {0, h.rows, panel, panels_of(block_size(block))});
}

}  // namespace recurlm
