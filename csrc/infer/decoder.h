// Generating text: a batch of streams that goes on token by token.
#pragma once

#include <cstdint>
#include <vector>

#include "infer/decoding_state.h"
#include "infer/sampling.h"

namespace recurlm {

// Where what is drawn goes. S streams, N tokens each.
struct Drawn {
  std::int32_t* ids;                          // (S, N): -1 behind a stop id
  float* log_probs = nullptr;                 // (S, N) those of the model itself, 0 behind a stop id; or null
  index alternatives = 0;                     // A, at most the classes
  std::int32_t* alternative_ids = nullptr;    // (S, N, A) the most probable in the place of each, in descending order, -1 where
  float* alternative_log_probs = nullptr;     // there are fewer that may be drawn, or the stream has ended

  bool wants_log_probs() const { return log_probs || alternatives > 0; }
};

// `sampling` has one entry, or one for each stream. From token to token nothing is allocated or locked, and on one thread nothing
// enters the system. Throws std::domain_error where the model's output is not finite; the state has then failed.
void generate(const PackedModel& model, DecodingState& state, index count, const std::vector<Sampling>& sampling,
              const std::vector<std::int32_t>& stop_ids, const Drawn& drawn);

}  // namespace recurlm
