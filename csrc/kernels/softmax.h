// Softmax and cross-entropy in place on packed logits. The caller has set the columns beyond `classes` to -infinity.
#pragma once

#include "kernels/math.h"

namespace recurlm::kernels::RECURLM_KERNEL_ISA {
namespace {

// Rows lie 128 bytes apart within a panel, and panels far apart: a block of rows is taken through each panel together, so that
// whole pages are read in order instead of one line in each.
constexpr index row_block = 16;
constexpr int panel_vectors = static_cast<int>(panel_width) / lanes;

// Of one row: its greatest logits and the panels where they stand, lane by lane, and how many stand before the target.
struct RowScan {
  vec value[panel_vectors], panel[panel_vectors], before;
};

struct Best {
  float value;
  index at;
};

RECURLM_INLINE Best first_maximum(const RowScan& m) {
  float value[panel_width], panel[panel_width];
  for (int v = 0; v < panel_vectors; ++v) {
    store(value + v * lanes, m.value[v]);
    store(panel + v * lanes, m.panel[v]);
  }
  Best best{value[0], static_cast<index>(panel[0]) * panel_width};
  for (index l = 1; l < panel_width; ++l) {
    const index at = static_cast<index>(panel[l]) * panel_width + l;
    if (value[l] > best.value || (value[l] == best.value && at < best.at)) best = {value[l], at};
  }
  return best;
}

struct SoftmaxRows {
  const SoftmaxCrossEntropy& s;
  index first, rows, panels;

  float* logits(index p, index r) const { return s.logits + p * s.panel + (first + r) * panel_width; }
  bool ignored(index r) const { return s.weights && s.weights[first + r] == 0.0f; }
  float* target(index r) const {
    const index t = s.targets[first + r];
    return logits(t / panel_width, r) + t % panel_width;
  }
};

// One panel of one row. Equal logits stand in the order of their indices.
RECURLM_INLINE void scan_panel(const float* logits, index panel, index target_panel, vec target, RowScan& row) {
  const vec here = set1(static_cast<float>(panel));  // exact: there are fewer than 2^24 panels
  const vec one = set1(1.0f), zero = set1(0.0f);
  for (int v = 0; v < panel_vectors; ++v) {
    const vec x = load(logits + v * lanes);
    row.panel[v] = select_gt(x, row.value[v], here, row.panel[v]);
    row.value[v] = max(x, row.value[v]);
    if (panel < target_panel)
      row.before = row.before + select_ge(x, target, one, zero);
    else if (panel > target_panel)
      row.before = row.before + select_gt(x, target, one, zero);
  }
}

// Entries of its own panel that stand before the target.
RECURLM_INLINE std::int32_t count_before(const float* logits, index target) {
  std::int32_t count = 0;
  for (index l = 0; l < panel_width; ++l)
    count += logits[l] > logits[target] || (logits[l] == logits[target] && l < target);
  return count;
}

// The arg max of each row, and its target's rank: the entries that stand before it when sorted by logit. Rank 0 is the arg max.
void scan(const SoftmaxRows& block, Best* best) {
  RowScan rows[row_block];
  vec targets[row_block];
  index target_panels[row_block];
  for (index r = 0; r < block.rows; ++r) {
    for (int v = 0; v < panel_vectors; ++v) rows[r].value[v] = load(block.logits(0, r) + v * lanes), rows[r].panel[v] = set1(0.0f);
    rows[r].before = set1(0.0f);
    target_panels[r] = block.ignored(r) ? -1 : block.s.targets[block.first + r] / panel_width;
    targets[r] = set1(block.ignored(r) ? 0.0f : *block.target(r));
  }
  for (index p = 0; p < block.panels; ++p)
    for (index r = 0; r < block.rows; ++r) scan_panel(block.logits(p, r), p, target_panels[r], targets[r], rows[r]);
  for (index r = 0; r < block.rows; ++r) {
    best[r] = first_maximum(rows[r]);
    const index own = target_panels[r];
    block.s.ranks[block.first + r] =
        own < 0 ? -1 : static_cast<std::int32_t>(sum(rows[r].before)) +
                           count_before(block.logits(own, r), block.s.targets[block.first + r] % panel_width);
  }
}

// The sum of the logits of each row. Those that pad the last panel are left out.
void sum_logits(const SoftmaxRows& block, float* sums) {
  vec totals[row_block];
  for (index r = 0; r < block.rows; ++r) totals[r] = set1(0.0f);
  for (index p = 0; p < block.panels; ++p)
    for (index r = 0; r < block.rows; ++r)
      for (int v = 0; v < panel_vectors; ++v) {
        const index n = tail(block.s.classes, p * panel_width + v * lanes);
        if (n > 0) totals[r] = totals[r] + load_n(block.logits(p, r) + v * lanes, n);
      }
  for (index r = 0; r < block.rows; ++r) sums[r] = sum(totals[r]);
}

// Logits become exp(logit - maximum); returns the sum of each row. Stored only where a gradient is wanted.
void exponentiate(const SoftmaxRows& block, const Best* best, float* sums) {
  vec totals[row_block];
  for (index r = 0; r < block.rows; ++r) totals[r] = set1(0.0f);
  for (index p = 0; p < block.panels; ++p)
    for (index r = 0; r < block.rows; ++r)
      for (int v = 0; v < panel_vectors; ++v) {
        float* at = block.logits(p, r) + v * lanes;
        const vec e = exp(load(at) - set1(best[r].value));
        if (block.s.gradient) store(at, e);
        totals[r] = totals[r] + e;
      }
  for (index r = 0; r < block.rows; ++r) sums[r] = sum(totals[r]);
}

// p - smoothing / classes, and for the target another 1 - smoothing less; all times the row's weight.
void scale_gradients(const SoftmaxRows& block, const float* sums) {
  float scales[row_block], weights[row_block];
  for (index r = 0; r < block.rows; ++r) {
    weights[r] = block.s.weights ? block.s.weights[block.first + r] : 1.0f;
    scales[r] = weights[r] / sums[r];
  }
  for (index p = 0; p < block.panels; ++p)
    for (index r = 0; r < block.rows; ++r)
      for (int v = 0; v < panel_vectors; ++v) {
        float* at = block.logits(p, r) + v * lanes;
        store(at, load(at) * set1(scales[r]));
      }
  const float smoothing = block.s.smoothing;
  for (index r = 0; r < block.rows; ++r)
    if (!block.ignored(r)) *block.target(r) -= weights[r] * (1.0f - smoothing);
  if (smoothing == 0.0f) return;
  for (index p = 0; p < block.panels; ++p)
    for (index r = 0; r < block.rows; ++r)
      for (int v = 0; v < panel_vectors; ++v) {
        const index n = tail(block.s.classes, p * panel_width + v * lanes);
        float* at = block.logits(p, r) + v * lanes;
        const vec share = set1(weights[r] * smoothing / static_cast<float>(block.s.classes));
        if (n > 0) store_n(at, load_n(at, n) - share, n);
      }
}

void softmax_cross_entropy(const SoftmaxCrossEntropy& s) {
  const index panels = (s.classes + panel_width - 1) / panel_width;
  for (index first = 0; first < s.rows; first += row_block) {
    const SoftmaxRows block{s, first, s.rows - first < row_block ? s.rows - first : row_block, panels};
    Best best[row_block];
    float sums[row_block], target_logits[row_block], logit_sums[row_block];
    scan(block, best);
    for (index r = 0; r < block.rows; ++r) target_logits[r] = block.ignored(r) ? 0.0f : *block.target(r);
    if (s.smoothing != 0.0f) sum_logits(block, logit_sums);
    exponentiate(block, best, sums);
    for (index r = 0; r < block.rows; ++r) {
      const bool ignored = block.ignored(r);
      s.predictions[first + r] = ignored ? -1 : static_cast<std::int32_t>(best[r].at);
      s.log_probs[first + r] =
          ignored ? 0.0f : static_cast<float>(target_logits[r] - best[r].value - log_of_sum(sums[r]));
      if (s.smoothing != 0.0f)
        s.mean_log_probs[first + r] =
            ignored ? 0.0f
                    : static_cast<float>(logit_sums[r] / static_cast<float>(s.classes) - best[r].value - log_of_sum(sums[r]));
    }
    if (s.gradient) scale_gradients(block, sums);
  }
}

}  // namespace
}  // namespace recurlm::kernels::RECURLM_KERNEL_ISA
