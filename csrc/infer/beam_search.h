// The most probable continuations of a stream, looked for among a few at a time.
#pragma once

#include <cstdint>
#include <vector>

#include "infer/decoding_state.h"

namespace recurlm {

struct BeamOptions {
  index width = 4;               // texts that are followed side by side
  index max_tokens = 200;
  double length_penalty = 0.0;   // alpha of Wu et al. (2016): a text of n tokens is scored log_prob / ((5 + n) / 6)^alpha
  index best = 1;                // how many are wanted, at most `width`
};

struct Hypothesis {
  std::vector<std::int32_t> ids;   // with the stop id that has ended it
  std::vector<float> log_probs;    // of each, by the model itself
  double log_prob = 0, score = 0;
  bool ended = false;
};

// Continuations of stream 0, which stays where it is: the best of those that a stop id has ended or that have max_tokens, by
// descending score. Tokens that the stream's biases ban are left out, other biases do not count. Throws std::domain_error where the
// model's output is not finite.
std::vector<Hypothesis> search_beams(const PackedModel& model, const DecodingState& state, const BeamOptions& options,
                                     const std::vector<std::int32_t>& stop_ids);

}  // namespace recurlm
