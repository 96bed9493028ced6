// How the next token is drawn from a row of logits.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "base/types.h"

namespace recurlm {

// Applied in this order: repetition penalty (Keskar et al. 2019), temperature, top_k (Fan et al. 2018), top_p (Holtzman et al.
// 2020), min_p (Nguyen et al. 2024: relative to the most probable token). Neutral values switch a filter off.
struct Sampling {
  double temperature = 1.0;  // 0: greedy
  index top_k = 0;
  double top_p = 1.0;
  double min_p = 0.0;
  double repetition_penalty = 1.0;

  bool filters() const { return top_k > 0 || top_p < 1.0 || min_p > 0.0; }
};

// One thread's scratch for drawing; reused from token to token.
class Sampler {
 public:
  // logits, seen (classes): whether a token occurred. u is uniform in [0, 1). A logit of -infinity is never drawn.
  std::int32_t draw(const Sampling& sampling, index classes, const float* logits, const std::uint8_t* seen, double u);

 private:
  using Candidate = std::pair<float, std::int32_t>;  // probability, minus id: equal ones in ascending order of id

  std::int32_t draw_filtered(const Sampling& sampling, double u);

  std::vector<float> row_;
  std::vector<Candidate> heap_, kept_;
};

// Uniform in [0, 1) for token `position` of stream `stream`.
double uniform(std::uint64_t seed, std::uint32_t stream, std::uint64_t position);

}  // namespace recurlm
