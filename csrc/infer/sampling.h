// How the next token is drawn from a row of logits.
#pragma once

#include <cstdint>

#include "infer/output.h"

namespace recurlm {

// Applied in this order: penalties of repetition (Keskar et al. 2019), presence and frequency (OpenAI's API), temperature, top_k (Fan et al. 2018), top_p (Holtzman et al.
// 2020), min_p (Nguyen et al. 2024: relative to the most probable token). Neutral values switch a filter off.
struct Sampling {
  double temperature = 1.0;  // 0: greedy
  index top_k = 0;
  double top_p = 1.0;
  double min_p = 0.0;
  double repetition_penalty = 1.0;
  double presence_penalty = 0.0, frequency_penalty = 0.0;

  bool filters() const { return top_k > 0 || top_p < 1.0 || min_p > 0.0; }
  bool penalises() const { return repetition_penalty != 1.0 || presence_penalty != 0.0 || frequency_penalty != 0.0; }
  // By which logits are multiplied before the softmax: 0 where none is needed, and finite, since 0 times it must be 0.
  double scale() const { return temperature == 0.0 ? 0.0 : 1 / temperature < 1e38 ? 1 / temperature : 1e38; }
};

// Those of tokens that were seen are divided by the penalty of repetition where they are positive, else multiplied by it; then each
// token loses the penalty of presence, if it was drawn, and that of frequency as often as it was.
void penalise(const Sampling& sampling, index classes, const std::uint8_t* seen, const std::uint16_t* drawn, float* logits);

struct Candidate {
  double probability;  // relative to the greatest
  std::int32_t id;
};

// u is uniform in [0, 1). A logit of -infinity is never drawn. `room` is for as many candidates as there are classes, where
// sampling filters.
std::int32_t draw(const Sampling& sampling, const SoftmaxRow& row, const SoftmaxTotal& total, double u, Candidate* room);

// Uniform in [0, 1) for token `position` of stream `stream`.
double uniform(std::uint64_t seed, std::uint32_t stream, std::uint64_t position);

}  // namespace recurlm
