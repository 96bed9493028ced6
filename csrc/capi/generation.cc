// Generating text, and streams token by token.
#include <algorithm>
#include <cstring>

#include "capi/calls.h"
#include "capi/handles.h"
#include "capi/prompts.h"
#include "infer/decoder.h"
#include "infer/scoring.h"

namespace recurlm::capi {

namespace {

// Tokens drawn at a time: few at first, so that a stream starts at once, then enough to hide the call.
constexpr index first_draw = 4, next_draws = 32;

recurlm_options complete(const recurlm_options* given) { return completed(given, recurlm_options_init); }

Sampling sampling_of(const recurlm_options& options, index classes) {
  require(options.temperature == 0 || (options.temperature >= 1e-3 && options.temperature <= 1e3),
          "temperature must be 0, or from 0.001 to 1000");
  require(options.top_k >= 0, "top_k must be at least 0");
  require(options.top_p > 0 && options.top_p <= 1, "top_p must be above 0 and at most 1");
  require(options.min_p >= 0 && options.min_p <= 1, "min_p must be from 0 to 1");
  require(options.repetition_penalty >= 1e-6 && options.repetition_penalty <= 1e6, "repetition_penalty must be from 1e-6 to 1e6");
  require(options.presence_penalty > -1e6 && options.presence_penalty < 1e6, "presence_penalty must be above -1e6 and below 1e6");
  require(options.frequency_penalty > -1e6 && options.frequency_penalty < 1e6, "frequency_penalty must be above -1e6 and below 1e6");
  return {options.temperature, std::min<index>(options.top_k, classes), options.top_p,          options.min_p,
          options.repetition_penalty, options.presence_penalty,            options.frequency_penalty};
}

// What the tokens of one call add to the text; whether it has ended with them.
std::string text_of(recurlm_generation& generation, const TokenIds& ids) {
  std::string text;
  for (const std::int32_t id : ids)
    if (id >= 0 && std::find(generation.stop_ids.begin(), generation.stop_ids.end(), id) == generation.stop_ids.end())
      text += generation.decoder->feed(id);
  generation.finished = generation.left == 0 || generation.state.at(0).finished;
  return generation.finished ? text + generation.decoder->finish() : text;
}

void require_ids(const int32_t* ids, std::size_t count, index limit) {
  require(ids != nullptr || count == 0, "ids must not be null");
  require(std::all_of(ids, ids + count, [&](std::int32_t id) { return id >= 0 && id < limit; }),
          "ids must be from 0 to below the size of the vocabulary");
}

void require_usable(const recurlm_state* state) {
  require(state != nullptr, "state must not be null");
  require(!state->state.failed, "the state cannot go on: the model's output was not finite; begin another");
}

}  // namespace

// Defined here, they must say again that they are visible.
extern "C" {

RECURLM_API void recurlm_options_init(recurlm_options* options) {
  if (options) *options = {sizeof *options, 200, 0, 1.0, 0, 1.0, 0.0, 1.0, 0.0, 0.0};
}

RECURLM_API recurlm_status recurlm_generation_begin(const recurlm_model* model, const char* prompt, size_t length,
                                        const recurlm_options* options, recurlm_generation** generation) {
  return call([&] {
    require(model && generation, "model and generation must not be null");
    require(prompt || length == 0, "prompt must not be null");
    *generation = nullptr;
    const recurlm_options chosen = complete(options);
    require(chosen.max_tokens >= 0, "max_tokens must be at least 0");
    require(chosen.seed < std::uint64_t{1} << 63, "seed must be below 2^63");
    const LanguageModel& lm = *model->model;
    const Sampling sampling = sampling_of(chosen, lm.network->classes());
    Undrawn undrawn(lm);
    const TokenIds ids = prompt_ids(lm, {prompt, length});
    *generation = new recurlm_generation{model->model,
                                         begin(*lm.network, {ids}, chosen.seed, banning(undrawn.banned)),
                                         sampling,
                                         std::move(undrawn.ends),
                                         lm.tokenizer->decoder({prompt, length}),
                                         chosen.max_tokens,
                                         first_draw,
                                         {}};
  });
}

RECURLM_API recurlm_status recurlm_generation_next(recurlm_generation* generation, const char** piece, size_t* length) {
  return call([&] {
    require(generation && piece && length, "generation, piece and length must not be null");
    *piece = nullptr;
    *length = 0;
    generation->piece.clear();
    // Some tokens give no text yet: half a character, for one.
    while (generation->piece.empty() && !generation->finished) {
      const index count = std::min(generation->draws, generation->left);
      TokenIds ids(static_cast<std::size_t>(count));
      generate(*generation->model->network, generation->state, count, {generation->sampling}, generation->stop_ids, {ids.data()});
      generation->left -= count;
      generation->draws = next_draws;
      generation->piece = text_of(*generation, ids);
    }
    if (generation->piece.empty()) return;
    *piece = generation->piece.c_str();
    *length = generation->piece.size();
  });
}

RECURLM_API void recurlm_generation_end(recurlm_generation* generation) { delete generation; }

RECURLM_API recurlm_status recurlm_cache_make(const recurlm_model* model, size_t bytes, recurlm_cache** cache) {
  return call([&] {
    require(model && cache, "model and cache must not be null");
    *cache = nullptr;
    *cache = new recurlm_cache{model->model, PrefixCache(bytes)};
  });
}

RECURLM_API void recurlm_cache_free(recurlm_cache* cache) { delete cache; }

RECURLM_API recurlm_status recurlm_state_begin(const recurlm_model* model, recurlm_cache* cache, const int32_t* ids, const size_t* offsets,
                                   size_t streams, uint64_t seed, recurlm_state** state) {
  return call([&] {
    require(model && state && (offsets || streams == 0), "model, offsets and state must not be null");
    *state = nullptr;
    require(!cache || cache->model == model->model, "the cache must be one that was made for the model");
    require(seed < std::uint64_t{1} << 63, "seed must be below 2^63");
    const PackedModel& network = *model->model->network;
    std::vector<TokenIds> prompts;
    for (std::size_t s = 0; s < streams; ++s) {
      require(offsets[s] < offsets[s + 1], "offsets must ascend: each prompt has at least one id");
      require_ids(ids + offsets[s], offsets[s + 1] - offsets[s], network.vocabulary_size());
      prompts.emplace_back(ids + offsets[s], ids + offsets[s + 1]);
    }
    const Undrawn undrawn(*model->model);
    *state = new recurlm_state{model->model,
                               begin(network, prompts, seed, banning(undrawn.banned), cache ? &cache->states : nullptr)};
  });
}

RECURLM_API recurlm_status recurlm_state_copy(const recurlm_state* state, recurlm_state** copy) {
  return call([&] {
    require(state && copy, "state and copy must not be null");
    *copy = nullptr;
    *copy = new recurlm_state{state->model, DecodingState(state->state)};
  });
}

RECURLM_API recurlm_status recurlm_state_select(const recurlm_state* state, const size_t* streams, size_t count,
                                    recurlm_state** chosen) {
  return call([&] {
    require(state && chosen && (streams || count == 0), "state, streams and chosen must not be null");
    *chosen = nullptr;
    std::vector<index> rows;
    for (std::size_t i = 0; i < count; ++i) {
      require(streams[i] < state->state.streams.size(), "streams must be from 0 to below how many the state has");
      rows.push_back(static_cast<index>(streams[i]));
    }
    *chosen = new recurlm_state{state->model, state->state.select(rows)};
  });
}

RECURLM_API recurlm_status recurlm_state_join(const recurlm_state* const* states, size_t count, recurlm_state** joined) {
  return call([&] {
    require(states && joined && count > 0, "states and joined must not be null, and there must be at least one state");
    *joined = nullptr;
    std::vector<const DecodingState*> parts;
    for (std::size_t i = 0; i < count; ++i) {
      require(states[i] && states[i]->model == states[0]->model, "states must not be null, and of one model");
      parts.push_back(&states[i]->state);
    }
    *joined = new recurlm_state{states[0]->model, DecodingState::join(parts)};
  });
}

RECURLM_API recurlm_status recurlm_state_reset(recurlm_state* state, size_t stream, const int32_t* ids, size_t count, uint64_t seed) {
  return call([&] {
    require_usable(state);
    require(stream < state->state.streams.size(), "stream must be from 0 to below how many the state has");
    require(count > 0, "ids must not be empty");
    require(seed < std::uint64_t{1} << 63, "seed must be below 2^63");
    const LanguageModel& lm = *state->model;
    require_ids(ids, count, lm.network->vocabulary_size());
    const DecodingState begun = begin(*lm.network, {TokenIds(ids, ids + count)}, seed, banning(Undrawn(lm).banned));
    state->state.replace(static_cast<index>(stream), begun);
  });
}

RECURLM_API void recurlm_state_free(recurlm_state* state) { delete state; }

RECURLM_API size_t recurlm_state_streams(const recurlm_state* state) { return static_cast<size_t>(state->state.size()); }

RECURLM_API recurlm_status recurlm_state_draw(recurlm_state* state, size_t count, const recurlm_options* options, int32_t* ids,
                                  float* log_probs) {
  return call([&] {
    require_usable(state);
    require(ids || count == 0, "ids must not be null");
    const LanguageModel& lm = *state->model;
    const Sampling sampling = sampling_of(complete(options), lm.network->classes());
    generate(*lm.network, state->state, static_cast<index>(count), {sampling}, Undrawn(lm).ends, {ids, log_probs});
  });
}

RECURLM_API recurlm_status recurlm_state_read(recurlm_state* state, const int32_t* ids, size_t count, float* log_probs,
                                  int32_t* predictions) {
  return call([&] {
    require_usable(state);
    const PackedModel& network = *state->model->network;
    const std::size_t all = count * static_cast<std::size_t>(state->state.size());
    require_ids(ids, all, network.classes());
    std::vector<float> own_log_probs(log_probs ? 0 : all);
    TokenIds own_predictions(predictions ? 0 : all);
    score_streams(network, state->state, static_cast<index>(count), ids,
                  {log_probs ? log_probs : own_log_probs.data(), predictions ? predictions : own_predictions.data()});
  });
}

}  // extern "C"

}  // namespace recurlm::capi
