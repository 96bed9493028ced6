// Log-probabilities of texts and streams.
#pragma once

#include <cstdint>
#include <vector>

#include "infer/decoding_state.h"

namespace recurlm {

// Where the scores of tokens go. For each token, in the order of the ids:
struct Scores {
  float* log_probs;                           // given the tokens before it
  std::int32_t* predictions;                  // the most probable token (the first of equals) in its place
  index alternatives = 0;                     // A, at most the classes
  std::int32_t* alternative_ids = nullptr;    // (tokens, A) the most probable in its place, in descending order
  float* alternative_log_probs = nullptr;
};

// Text i is ids[offsets[i]] to ids[offsets[i + 1]], read from the zero state after `first_id`. Every prefix that texts have in common
// is read once; the bits are those of a text alone.
void score_texts(const PackedModel& model, const std::vector<index>& offsets, const std::int32_t* ids, std::int32_t first_id,
                 const Scores& scores);

// The streams of a state go on with ids (S, T).
void score_streams(const PackedModel& model, DecodingState& state, index steps, const std::int32_t* ids, const Scores& scores);

}  // namespace recurlm
