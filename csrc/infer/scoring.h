// Log-probabilities of texts and streams.
#pragma once

#include <cstdint>
#include <vector>

#include "infer/decoding_state.h"

namespace recurlm {

// Text i is ids[offsets[i]] to ids[offsets[i + 1]], read from the zero state after `first_id`. For each of its tokens the
// log-probability given those before it, and the most probable token (the first of equals) in its place. Every prefix that texts
// have in common is read once; the bits are those of a text alone.
void score_texts(const PackedModel& model, const std::vector<index>& offsets, const std::int32_t* ids, std::int32_t first_id,
                 float* log_probs, std::int32_t* predictions);

// The streams of a state go on with ids (S, T): log_probs and predictions likewise (S, T).
void score_streams(const PackedModel& model, DecodingState& state, index steps, const std::int32_t* ids, float* log_probs,
                   std::int32_t* predictions);

}  // namespace recurlm
