#include "infer/sampling.h"

#include <algorithm>

#include "base/random.h"
#include "kernels/table.h"

namespace recurlm {

namespace {

std::int32_t first_maximum(const std::vector<float>& x) {
  return static_cast<std::int32_t>(std::max_element(x.begin(), x.end()) - x.begin());
}

void penalise(std::vector<float>& logits, const std::uint8_t* seen, double penalty) {
  const auto factor = static_cast<float>(penalty), inverse = static_cast<float>(1 / penalty);
  for (std::size_t v = 0; v < logits.size(); ++v)
    if (seen[v]) logits[v] *= logits[v] > 0 ? inverse : factor;
}

}  // namespace

std::int32_t Sampler::draw(const Sampling& sampling, index classes, const float* logits, const std::uint8_t* seen,
                           double u) {
  row_.assign(logits, logits + classes);
  if (sampling.repetition_penalty != 1.0) penalise(row_, seen, sampling.repetition_penalty);
  if (sampling.temperature == 0.0) return first_maximum(row_);
  // Shifted first, so that a small temperature cannot overflow.
  const float largest = row_[static_cast<std::size_t>(first_maximum(row_))];
  const auto scale = static_cast<float>(std::min(1 / sampling.temperature, 1e38));  // finite: 0 times it must be 0
  for (float& z : row_) z = (z - largest) * scale;
  kernels::table().softmax_forward(1, classes, row_.data(), row_.data());
  if (sampling.filters()) return draw_filtered(sampling, u);
  double total = 0;
  for (float p : row_) total += static_cast<double>(p);
  double sum = 0;
  for (std::size_t v = 0; v < row_.size(); ++v)
    if ((sum += static_cast<double>(row_[v])) > u * total) return static_cast<std::int32_t>(v);
  return first_maximum(row_);
}

// Candidates leave a heap in descending order only as far as the filters let them.
std::int32_t Sampler::draw_filtered(const Sampling& sampling, double u) {
  const auto classes = static_cast<index>(row_.size());
  heap_.clear();
  kept_.clear();
  for (index v = 0; v < classes; ++v) heap_.emplace_back(row_[static_cast<std::size_t>(v)], -static_cast<std::int32_t>(v));
  std::make_heap(heap_.begin(), heap_.end());
  const auto limit = static_cast<std::size_t>(sampling.top_k > 0 ? std::min(sampling.top_k, classes) : classes);
  const bool renormalised = sampling.top_k > 0;  // top_p is a share of what top_k left
  double total = 0;
  while (kept_.size() < limit && (renormalised || kept_.empty() || total < sampling.top_p)) {
    std::pop_heap(heap_.begin(), heap_.end());
    kept_.push_back(heap_.back());
    heap_.pop_back();
    total += static_cast<double>(kept_.back().first);
  }
  const double share = sampling.top_p * (renormalised ? total : 1.0);
  const double least = sampling.min_p * static_cast<double>(kept_.front().first);
  std::size_t count = 0;
  double sum = 0;
  while (count < kept_.size() && (count == 0 || (sum < share && static_cast<double>(kept_[count].first) >= least)))
    sum += static_cast<double>(kept_[count++].first);
  double reached = 0;
  for (std::size_t i = 0; i < count; ++i)
    if ((reached += static_cast<double>(kept_[i].first)) > u * sum) return -kept_[i].second;
  return -kept_.front().second;
}

double uniform(std::uint64_t seed, std::uint32_t stream, std::uint64_t position) {
  constexpr std::uint32_t purpose = 0x53414d50;  // keeps these draws apart from dropout's
  const Counter random = philox({static_cast<std::uint32_t>(position), static_cast<std::uint32_t>(position >> 32), stream,
                                 purpose}, seed);
  const std::uint64_t bits = (std::uint64_t{random[0]} << 21) ^ random[1];
  return static_cast<double>(bits & ((std::uint64_t{1} << 53) - 1)) * 0x1p-53;
}

}  // namespace recurlm
