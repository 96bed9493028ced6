// Streams of text that a model goes on with: where each stands, apart from the model, to be copied, chosen from and joined.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "infer/layer_stack.h"
#include "infer/prefix_cache.h"

namespace recurlm {

// Added to a logit before anything is drawn; -infinity bans the token.
struct TokenBias {
  std::int32_t id;
  float bias;
};
using TokenBiases = std::vector<TokenBias>;

// What a stream is but for the states of the layers.
struct Stream {
  // What is drawn is a function of these three and of the stream's own tokens, whatever other streams there are.
  std::uint64_t seed;
  std::uint32_t number;
  std::uint64_t position = 0;  // tokens drawn so far

  std::int32_t next;  // the last token, not read yet
  bool finished = false;
  std::vector<std::uint8_t> seen;                 // (V) whether a token was read or drawn
  std::vector<std::uint16_t> drawn;               // (V) how often it was drawn, at most 65,535 times
  std::shared_ptr<const TokenBiases> biases;      // by ascending id, each once

  void draw(std::int32_t id);
};

// Made by begin, advanced by generate, score_streams and search_beams, one call at a time.
struct DecodingState {
  DecodingState(const PackedModel& model, std::vector<Stream> streams);
  DecodingState(const DecodingState& other);  // scratch is not copied
  DecodingState(DecodingState&&) = default;
  DecodingState& operator=(const DecodingState&) = delete;
  DecodingState& operator=(DecodingState&&) = default;

  index size() const { return static_cast<index>(streams.size()); }
  Stream& at(index s) { return streams[static_cast<std::size_t>(s)]; }
  const Stream& at(index s) const { return streams[static_cast<std::size_t>(s)]; }
  bool belongs_to(const PackedModel& model) const { return model_id == model.id(); }

  // These streams, in this order; one that is named twice goes on twice, with the same draws.
  DecodingState select(const std::vector<index>& rows) const;
  // The first stream of another state of the model in place of stream s.
  void replace(index s, const DecodingState& other);
  // The streams of states of one model, one after another, as if they had begun together. At least one state.
  static DecodingState join(const std::vector<const DecodingState*>& states);

  std::uint64_t model_id;
  std::vector<Stream> streams;
  StreamStates states;
  bool failed = false;  // amid a call: its parts do not fit together any more
  Workspace workspace;

 private:
  explicit DecodingState(std::uint64_t model_id) : model_id(model_id) {}
};

// Each prompt has at least one id, all ids are in range. Prompts that begin alike are read together, and from where a text in the
// cache leaves them, which then holds them too. Stream s gets the number s.
DecodingState begin(const PackedModel& model, const std::vector<std::vector<std::int32_t>>& prompts, std::uint64_t seed,
                    TokenBiases biases = {}, PrefixCache* cache = nullptr);
TokenBiases banning(const std::vector<std::int32_t>& ids);

}  // namespace recurlm
