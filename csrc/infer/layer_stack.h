// The recurrent layers of a packed model over a rectangle of tokens.
#pragma once

#include <vector>

#include "infer/packed_model.h"

namespace recurlm {

// What streams carry from token to token: for each layer h and, of an lstm, c, (S, H).
struct StreamStates {
  StreamStates() = default;
  StreamStates(const PackedModel& model, index streams);  // zero

  StreamStates select(index streams, const std::vector<index>& rows) const;  // of so many
  void replace(index streams, index row, const StreamStates& one);
  void append(const StreamStates& more);

  std::vector<std::vector<float>> h, c;
};

// Inputs and what the layers write. h and c have room for one step more than there are: a state comes in as the first.
struct StackBuffers {
  StackBuffers(Workspace::Frame& frame, const PackedModel& model, index steps, index batch);

  // The rows of `states` that `rows` names, or all of them in order, as the states before the first step.
  void place_states(const PackedModel& model, const StreamStates& states, const std::int32_t* rows = nullptr) const;
  // Slot `slot` of h and c.
  void copy_states(const PackedModel& model, index slot, StreamStates& states) const;
  // Token `id` as input r.
  void place(const PackedModel& model, index r, std::int32_t id) const;

  index steps, batch;
  std::int32_t* ids;         // (T, B)
  unsigned char* mask;       // (T, B), at first 1: where 0 the states pass on
  float* x;                  // (T * B, E), or null where the model has a table
  std::vector<float*> h, c;  // (T + 1, B, H); c null but for an lstm
  float* saved;
  std::vector<QuantizedRows> quantized;  // (B, H) the last states once more, of layers that share them so; of a single step
};

// All layers, bound to their buffers. A stack of one step that runs backwards through the buffers takes the second slot to the
// first, so that two of them alternate without copying a state.
class LayerStack {
 public:
  LayerStack(Workspace::Frame& frame, const PackedModel& model, const StackBuffers& buffers, int threads, bool reverse = false);

  // The inputs are in place, and the states where no run left them: `placed`. Ends with a barrier.
  void run(Team& team, bool placed) const;
  const float* outputs() const { return outputs_; }  // (T, B, H) of the top layer
  Operand output_rows(index row, index rows) const;  // some of (T * B)

 private:
  struct Bound {
    CellRun run;
    PackedCell weights;

    void quantize_state(Team& team, index slot) const;
  };
  std::vector<Bound> layers_;
  const float* outputs_;
};

// Inputs and states are in place; returns the outputs of the top layer.
const float* run_layers(Workspace::Frame& frame, const PackedModel& model, const StackBuffers& buffers);

}  // namespace recurlm
