#include "infer/next_logits.h"

namespace recurlm {

NextLogits::NextLogits(Workspace::Frame& frame, const PackedModel& model, const DecodingState& state, int threads)
    : streams_(state.size()),
      classes_(model.classes()),
      buffers_(frame, model, 1, streams_),
      forth_(frame, model, buffers_, threads),
      back_(frame, model, buffers_, threads, true),
      output_(frame, model, threads),
      logits_(frame.take<float>(streams_ * classes_)) {
  buffers_.place_states(model, state.states);
  for (index s = 0; s < streams_; ++s) {
    buffers_.place(model, s, state.at(s).next);
    buffers_.mask[s] = !state.at(s).finished;
  }
}

int threads_for_token(const PackedModel& model, index streams) {
  return threads_for((model.recurrent_operations() + model.projection_operations()) * static_cast<double>(streams));
}

}  // namespace recurlm
