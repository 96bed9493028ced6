// Running a trained model token by token: immutable packed weights, and the state of a batch of streams.
//
// No cell is written here: a decoding step is the training op with one time step and weights packed beforehand.
#pragma once

#include <cstdint>
#include <vector>

#include "base/workspace.h"
#include "infer/sampling.h"
#include "ops/linear.h"
#include "ops/recurrent.h"

namespace recurlm {

struct DecoderLayer {
  CellSpec spec;
  CellWeights weights;
};

// A batch of streams. Made by Decoder::begin, advanced by Decoder::generate, one call at a time.
class DecodingState {
 public:
  DecodingState(std::uint64_t decoder, index streams, std::uint64_t seed)
      : decoder_(decoder), streams_(streams), seed_(seed) {}
  DecodingState(const DecodingState& other);  // scratch is not copied
  DecodingState(DecodingState&&) = default;
  DecodingState& operator=(const DecodingState&) = delete;

  index streams() const { return streams_; }
  bool finished(index stream) const { return finished_[static_cast<std::size_t>(stream)]; }

 private:
  friend class Decoder;

  std::uint64_t decoder_;  // whose it is
  index streams_;
  std::uint64_t seed_;
  std::uint64_t position_ = 0;                   // tokens drawn so far
  std::vector<std::vector<float>> h_, c_;        // for each layer (S, H)
  std::vector<std::int32_t> next_;               // (S) the last token, not read yet
  std::vector<std::uint8_t> seen_;               // (S, V)
  std::vector<std::uint8_t> banned_;             // (V)
  std::vector<std::uint8_t> finished_;           // (S)
  std::vector<float> logits_;                    // (S, V)
  std::vector<Sampler> samplers_;                // (S)
  Workspace workspace_;
};

class Decoder {
 public:
  // embedding (V, E); everything is copied.
  Decoder(ConstMatrixView embedding, const std::vector<DecoderLayer>& layers, const LinearWeights& projection);

  index vocabulary_size() const { return embedding_rows_; }
  index classes() const { return classes_; }
  std::size_t nbytes() const { return storage_.nbytes() + embedding_.size() * sizeof(float); }

  // Each prompt has at least one id, all ids are in range.
  DecodingState begin(const std::vector<std::vector<std::int32_t>>& prompts, std::uint64_t seed,
                      const std::vector<std::int32_t>& banned) const;
  bool owns(const DecodingState& state) const { return state.decoder_ == id_; }
  // ids, log_probs (S, count); -1 and 0 behind a stop id.
  void generate(DecodingState& state, index count, const Sampling& sampling,
                const std::vector<std::int32_t>& stop_ids, std::int32_t* ids, float* log_probs) const;

 private:
  struct Layer {
    CellSpec spec;
    PackedCell packed;
  };
  // ids, mask (T, S): the top layer's final h, (S, H), in the state.
  void read(DecodingState& state, index steps, const std::int32_t* ids, const unsigned char* mask) const;
  void project(DecodingState& state) const;
  void sample(DecodingState& state, index stream, const Sampling& sampling,
              const std::vector<std::int32_t>& stop_ids, std::int32_t* id, float* log_prob) const;
  double operations(index rows) const;

  const std::uint64_t id_;
  Workspace storage_;
  Workspace::Frame frame_{storage_};
  std::vector<float> embedding_;
  index embedding_rows_, embedding_cols_, classes_;
  std::vector<Layer> layers_;
  LinearOperands projection_;
  Panels kernel_;
};

}  // namespace recurlm
