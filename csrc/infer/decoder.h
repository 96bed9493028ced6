// Generating text: a batch of streams that goes on token by token.
#pragma once

#include <cstdint>
#include <vector>

#include "infer/layer_stack.h"
#include "infer/sampling.h"

namespace recurlm {

// Made by begin, advanced by generate and score_streams, one call at a time.
class DecodingState {
 public:
  DecodingState(const PackedModel& model, index streams, std::uint64_t seed);
  DecodingState(const DecodingState& other);  // scratch is not copied
  DecodingState(DecodingState&&) = default;
  DecodingState& operator=(const DecodingState&) = delete;

  index streams() const { return streams_; }
  bool finished(index stream) const { return finished_[static_cast<std::size_t>(stream)]; }
  bool belongs_to(const PackedModel& model) const { return model_ == model.id(); }
  bool failed() const { return failed_; }

 private:
  friend class Generation;
  friend DecodingState begin(const PackedModel&, const std::vector<std::vector<std::int32_t>>&, std::uint64_t,
                             const std::vector<std::int32_t>&);
  friend void score_streams(const PackedModel&, DecodingState&, index, const std::int32_t*, float*, std::int32_t*);

  std::uint64_t model_;  // id of the model whose it is
  index streams_;
  std::uint64_t seed_;
  std::uint64_t position_ = 0;  // tokens drawn so far
  StreamStates states_;
  std::vector<std::int32_t> next_;      // (S) the last token, not read yet
  std::vector<std::uint8_t> seen_;      // (S, V)
  std::vector<std::int32_t> banned_;    // ascending
  std::vector<std::uint8_t> finished_;  // (S)
  bool failed_ = false;                 // amid a call: its parts do not fit together any more
  Workspace workspace_;
};

// Each prompt has at least one id, all ids are in range. Prompts that begin alike are read together.
DecodingState begin(const PackedModel& model, const std::vector<std::vector<std::int32_t>>& prompts, std::uint64_t seed,
                    const std::vector<std::int32_t>& banned);

// ids (S, count): -1 behind a stop id. log_probs, of the same shape, or null: those of the model itself, 0 behind a stop id.
// From token to token nothing is allocated or locked, and on one thread nothing enters the system. Throws std::domain_error
// where the model's output is not finite; the state has then failed.
void generate(const PackedModel& model, DecodingState& state, index count, const Sampling& sampling,
              const std::vector<std::int32_t>& stop_ids, std::int32_t* ids, float* log_probs);

}  // namespace recurlm
