// The most probable texts.
#include <memory>

#include "capi/calls.h"
#include "capi/handles.h"
#include "capi/prompts.h"
#include "infer/beam_search.h"

struct recurlm_beams {
  std::vector<recurlm::Hypothesis> found;
  std::vector<std::string> texts;
};

namespace recurlm::capi {

namespace {

std::string text_of(const Tokenizer& tokenizer, std::string_view prompt, const Hypothesis& hypothesis) {
  const auto decoder = tokenizer.decoder(prompt);
  std::string text;
  for (std::size_t i = 0; i + (hypothesis.ended ? 1 : 0) < hypothesis.ids.size(); ++i) text += decoder->feed(hypothesis.ids[i]);
  return text + decoder->finish();
}

}  // namespace

// Defined here, they must say again that they are visible.
extern "C" {

RECURLM_API void recurlm_beam_options_init(recurlm_beam_options* options) {
  if (options) *options = {sizeof *options, 200, 4, 1, 0.0};
}

RECURLM_API recurlm_status recurlm_beams_search(const recurlm_model* model, const char* prompt, size_t length,
                                    const recurlm_beam_options* options, recurlm_beams** beams) {
  return call([&] {
    require(model && beams && (prompt || length == 0), "model, prompt and beams must not be null");
    *beams = nullptr;
    const recurlm_beam_options chosen = completed(options, recurlm_beam_options_init);
    require(chosen.max_tokens >= 0, "max_tokens must be at least 0");
    require(chosen.width >= 1 && chosen.width <= 1024, "width must be from 1 to 1024");
    require(chosen.best >= 1 && chosen.best <= chosen.width, "best must be from 1 to width");
    require(chosen.length_penalty >= -10 && chosen.length_penalty <= 10, "length_penalty must be from -10 to 10");
    const LanguageModel& lm = *model->model;
    const Undrawn undrawn(lm);
    const DecodingState state = begin(*lm.network, {prompt_ids(lm, {prompt, length})}, 0, banning(undrawn.banned));
    auto made = std::make_unique<recurlm_beams>();
    made->found = search_beams(*lm.network, state, {chosen.width, chosen.max_tokens, chosen.length_penalty, chosen.best},
                               undrawn.ends);
    for (const Hypothesis& each : made->found) made->texts.push_back(text_of(*lm.tokenizer, {prompt, length}, each));
    *beams = made.release();
  });
}

RECURLM_API size_t recurlm_beams_count(const recurlm_beams* beams) { return beams->found.size(); }

RECURLM_API recurlm_status recurlm_beams_get(const recurlm_beams* beams, size_t place, recurlm_beam* beam) {
  return call([&] {
    require(beams && beam, "beams and beam must not be null");
    require(place < beams->found.size(), "place must be below how many beams there are");
    const Hypothesis& found = beams->found[place];
    const std::string& text = beams->texts[place];
    *beam = {text.c_str(), text.size(), found.score, found.log_probs.data(), found.log_probs.size(), found.ended};
  });
}

RECURLM_API void recurlm_beams_free(recurlm_beams* beams) { delete beams; }

}  // extern "C"

}  // namespace recurlm::capi
