// What generation and beam search share: options, prompts, and what is never drawn.
#pragma once

#include <cstring>
#include <string_view>

#include "capi/calls.h"
#include "infer/model_folder.h"

namespace recurlm::capi {

// Those given, in the size that they have for the caller, over the defaults.
template <typename Options>
Options completed(const Options* given, void (*init)(Options*)) {
  Options options;
  init(&options);
  if (!given) return options;
  require(given->size >= sizeof given->size && given->size <= sizeof options,
          "options must be initialised with their init function, and by a header of this version or an earlier one");
  std::memcpy(&options, given, given->size);
  return options;
}

// Ids that no text holds: those that are never drawn, and those that end one, if texts apart have been learned.
struct Undrawn {
  TokenIds banned, ends;

  explicit Undrawn(const LanguageModel& model) {
    const std::int32_t unknown = model.tokenizer->unknown_id();
    if (unknown >= 0) banned.push_back(unknown);
    const TokenIds end_ids = model.tokenizer->end_ids();
    if (model.separate_texts)
      ends = end_ids;
    else
      banned.insert(banned.end(), end_ids.begin(), end_ids.end());
  }
};

inline TokenIds prompt_ids(const LanguageModel& model, std::string_view prompt) {
  TokenIds ids{model.tokenizer->bos_id()};
  const TokenIds text = model.tokenizer->encode(prompt);
  ids.insert(ids.end(), text.begin(), text.end());
  return ids;
}

}  // namespace recurlm::capi
