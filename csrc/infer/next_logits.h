// One token of every stream through the whole model, as often as is wanted.
#pragma once

#include "infer/decoding_state.h"
#include "infer/output.h"

namespace recurlm {

class NextLogits {
 public:
  // The streams' states and last tokens are in place.
  NextLogits(Workspace::Frame& frame, const PackedModel& model, const DecodingState& state, int threads);

  // Logits of what follows the tokens that are in place: prepare(stream, block) for each block of them, as soon as it is there, by
  // one thread. Ends with a barrier.
  template <typename Prepare>
  void run(Team& team, index step, Prepare&& prepare) const {
    const LayerStack& stack = step % 2 == 0 ? forth_ : back_;
    stack.run(team, step == 0);
    for_share(team, output_.blocks(), streams_, rows_to_share(team),
              [&](index block, index blocks, index row, index rows) {
                for (index b = block; b < block + blocks; ++b) {
                  output_.multiply_block(team, stack.output_rows(row, rows), b,
                                         logits_ + row * classes_ + b * block_classes, classes_);
                  for (index s = row; s < row + rows; ++s) prepare(s, b);
                }
              });
    team.barrier();
  }
  void place(const PackedModel& model, index stream, std::int32_t id) const { buffers_.place(model, stream, id); }
  void end(index stream) const { buffers_.mask[stream] = 0; }  // its state stays where its text ended
  const StackBuffers& buffers() const { return buffers_; }

  index blocks() const { return output_.blocks(); }
  index block_size(index block) const { return output_.block_size(block); }
  float* logits(index stream) const { return logits_ + stream * classes_; }  // (V)

 private:
  // The unit by which streams are given to threads: of a small vocabulary, what each stream needs costs more than the product.
  index rows_to_share(const Team& team) const {
    const index tiles = ceil_div(streams_, kernels::table().gemm_rows);
    return ceil_div(streams_, ceil_div(tiles, team.size) * team.size);
  }

  const index streams_, classes_;
  StackBuffers buffers_;
  const LayerStack forth_, back_;  // from the first slot of the states to the second, and back
  const OutputLayer output_;
  float* logits_;  // (S, V)
};

// As many as a token of so many streams is worth.
int threads_for_token(const PackedModel& model, index streams);

}  // namespace recurlm
