#include "infer/decoding_state.h"

#include <algorithm>
#include <limits>
#include <map>
#include <utility>

#include "infer/prefix_tree.h"

namespace recurlm {

void Stream::draw(std::int32_t id) {
  const auto at = static_cast<std::size_t>(id);
  seen[at] = 1;
  if (drawn[at] < std::numeric_limits<std::uint16_t>::max()) ++drawn[at];
  next = id;
}

DecodingState::DecodingState(const PackedModel& model, std::vector<Stream> streams)
    : model_id(model.id()), streams(std::move(streams)), states(model, size()) {}

DecodingState::DecodingState(const DecodingState& other)
    : model_id(other.model_id), streams(other.streams), states(other.states), failed(other.failed) {}

DecodingState DecodingState::select(const std::vector<index>& rows) const {
  DecodingState chosen(model_id);
  chosen.failed = failed;
  for (const index row : rows) chosen.streams.push_back(at(row));
  chosen.states = states.select(size(), rows);
  return chosen;
}

void DecodingState::replace(index s, const DecodingState& other) {
  at(s) = other.at(0);
  states.replace(size(), s, other.states);
}

DecodingState DecodingState::join(const std::vector<const DecodingState*>& states) {
  DecodingState joined(states.front()->model_id);
  for (const DecodingState* state : states) {
    joined.failed |= state->failed;
    joined.streams.insert(joined.streams.end(), state->streams.begin(), state->streams.end());
    joined.states.append(state->states);
  }
  return joined;
}

TokenBiases banning(const std::vector<std::int32_t>& ids) {
  TokenBiases biases;
  for (const std::int32_t id : ids) biases.push_back({id, -std::numeric_limits<float>::infinity()});
  return biases;
}

namespace {

// Reads texts from the states of one stream, or from zero; that of text `tag` becomes that of stream `tag`.
void read_texts(const PackedModel& model, const StreamStates* from, std::vector<Text> texts, DecodingState& state) {
  PrefixTree tree(std::move(texts));
  TreeReader reader(model, state.workspace);
  if (from) reader.start(*from);
  while (const Segment* segment = tree.next()) {
    reader.read(*segment, tree);
    for (index row = 0; row < segment->rows(); ++row)
      for (const Text& text : tree.texts_of(*segment, row))
        if (text.length == segment->end()) reader.copy_state(row, static_cast<index>(text.tag), state.states);
  }
}

void read_prompts(const PackedModel& model, const std::vector<Text>& texts, PrefixCache& cache, DecodingState& state) {
  // By what they go on from: the rest of each.
  std::map<std::shared_ptr<const StreamStates>, std::vector<Text>> rests;
  for (const Text& text : texts) {
    const PrefixCache::Found found = cache.find(text.ids, text.length);
    rests[found.states].push_back({text.ids + found.length, text.length - found.length, text.tag});
  }
  for (auto& [from, rest] : rests) {
    for (const Text& text : rest)
      if (text.length == 0 && from) state.states.replace(state.size(), static_cast<index>(text.tag), *from);
    read_texts(model, from.get(), std::move(rest), state);
  }
  for (const Text& text : texts)
    cache.keep(text.ids, text.length, state.states.select(state.size(), {static_cast<index>(text.tag)}));
}

}  // namespace

DecodingState begin(const PackedModel& model, const std::vector<std::vector<std::int32_t>>& prompts, std::uint64_t seed,
                    TokenBiases biases, PrefixCache* cache) {
  const auto classes = static_cast<std::size_t>(model.classes());
  std::stable_sort(biases.begin(), biases.end(), [](const TokenBias& a, const TokenBias& b) { return a.id < b.id; });
  const auto shared = std::make_shared<const TokenBiases>(std::move(biases));
  std::vector<Stream> streams;
  std::vector<Text> texts;  // all but the last token
  for (std::size_t s = 0; s < prompts.size(); ++s) {
    const std::vector<std::int32_t>& prompt = prompts[s];
    texts.push_back({prompt.data(), static_cast<index>(prompt.size()) - 1, s});
    streams.push_back({seed, static_cast<std::uint32_t>(s), 0, prompt.back(), false, std::vector<std::uint8_t>(classes),
                       std::vector<std::uint16_t>(classes), shared});
    for (const std::int32_t id : prompt)
      if (static_cast<std::size_t>(id) < classes) streams.back().seen[static_cast<std::size_t>(id)] = 1;
  }
  DecodingState state(model, std::move(streams));
  cache ? read_prompts(model, texts, *cache, state) : read_texts(model, nullptr, std::move(texts), state);
  return state;
}

}  // namespace recurlm
