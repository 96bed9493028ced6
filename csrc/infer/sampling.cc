#include "infer/sampling.h"

#include <algorithm>
#include <cmath>
#include <functional>

#include "base/random.h"

namespace recurlm {

namespace {

// exp(-reach) is 0 in double for anything further below the maximum.
constexpr double first_reach = 8, last_reach = 800;

// A block and then a token in it, each by its part of the sum.
std::int32_t draw_unfiltered(const SoftmaxRow& row, const SoftmaxTotal& total, double u) {
  const auto relative = [&](double logit) { return std::exp(row.scale * (logit - total.maximum)); };
  double left = u * total.sum;
  std::int32_t last = total.at;
  for (index b = 0; b < row.block_count(); ++b) {
    const double mass = static_cast<double>(row.blocks[b].sum) * relative(static_cast<double>(row.blocks[b].maximum));
    if (mass <= left && b + 1 < row.block_count()) {
      left -= mass;
      continue;
    }
    const index end = std::min(row.classes, (b + 1) * block_classes);
    for (index v = b * block_classes; v < end; ++v) {
      const double p = relative(static_cast<double>(row.logits[v]));
      if (!(p > 0)) continue;
      last = static_cast<std::int32_t>(v);
      if ((left -= p) < 0) return last;
    }
    return last;  // the block's sum was rounded up
  }
  return last;
}

}  // namespace

void penalise(index classes, const std::uint8_t* seen, double penalty, float* logits) {
  const auto factor = static_cast<float>(penalty), inverse = static_cast<float>(1 / penalty);
  for (index v = 0; v < classes; ++v)
    if (seen[v]) logits[v] *= logits[v] > 0 ? inverse : factor;
}

std::int32_t Sampler::draw(const Sampling& sampling, const SoftmaxRow& row, const SoftmaxTotal& total, double u) {
  if (sampling.temperature == 0.0) return total.at;
  return sampling.filters() ? draw_filtered(sampling, row, total, u) : draw_unfiltered(row, total, u);
}

// Everything at most `reach` below the maximum becomes a candidate; returns their sum.
double Sampler::collect(const SoftmaxRow& row, double maximum, double reach) {
  candidates_.clear();
  double sum = 0;
  const double least = maximum - reach / row.scale;
  for (index b = 0; b < row.block_count(); ++b) {
    if (static_cast<double>(row.blocks[b].maximum) < least) continue;
    for (index v = b * block_classes; v < std::min(row.classes, (b + 1) * block_classes); ++v) {
      const auto logit = static_cast<double>(row.logits[v]);
      if (logit < least) continue;
      candidates_.emplace_back(std::exp(row.scale * (logit - maximum)), -static_cast<std::int32_t>(v));
      sum += candidates_.back().first;
    }
  }
  return sum;
}

// The filters keep the most probable tokens: those far below the maximum are looked at only where the others are too few.
std::int32_t Sampler::draw_filtered(const Sampling& sampling, const SoftmaxRow& row, const SoftmaxTotal& total, double u) {
  const auto limit = static_cast<std::size_t>(sampling.top_k > 0 ? std::min(sampling.top_k, row.classes) : row.classes);
  const bool renormalised = sampling.top_k > 0;  // top_p is a share of what top_k left
  for (double reach = first_reach; reach <= last_reach; reach *= 10) {
    const double sum = collect(row, total.maximum, reach);
    if (renormalised ? candidates_.size() >= limit
                     : sum >= sampling.top_p * total.sum || std::exp(-reach) < sampling.min_p)
      break;
  }
  std::sort(candidates_.begin(), candidates_.end(), std::greater<>());
  candidates_.resize(std::min(candidates_.size(), limit));
  double mass = total.sum;
  if (renormalised) {
    mass = 0;
    for (const Candidate& candidate : candidates_) mass += candidate.first;
  }
  const double share = sampling.top_p * mass, least = sampling.min_p * candidates_.front().first;
  std::size_t count = 0;
  double sum = 0;
  while (count < candidates_.size() && (count == 0 || (sum < share && candidates_[count].first >= least)))
    sum += candidates_[count++].first;
  double reached = 0;
  for (std::size_t i = 0; i < count; ++i)
    if ((reached += candidates_[i].first) > u * sum) return -candidates_[i].second;
  return -candidates_.front().second;
}

double uniform(std::uint64_t seed, std::uint32_t stream, std::uint64_t position) {
  constexpr std::uint32_t purpose = 0x53414d50;  // keeps these draws apart from dropout's
  const Counter random = philox({static_cast<std::uint32_t>(position), static_cast<std::uint32_t>(position >> 32), stream,
                                 purpose}, seed);
  const std::uint64_t bits = (std::uint64_t{random[0]} << 21) ^ random[1];
  return static_cast<double>(bits & ((std::uint64_t{1} << 53) - 1)) * 0x1p-53;
}

}  // namespace recurlm
