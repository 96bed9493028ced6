// A language model as it lies on disk: config.json, tokenizer.json, and model.safetensors or, packed, packed.safetensors.
#pragma once

#include <memory>
#include <string>

#include "infer/packed_model.h"
#include "text/tokenizer.h"

namespace recurlm {

struct LanguageModel {
  std::unique_ptr<Tokenizer> tokenizer;
  std::unique_ptr<PackedModel> network;
  // Whether it was trained on texts apart: then it knows where one ends, and generation ends there.
  bool separate_texts;
};

// FormatError, with the name of the file, where one of them is not right; std::system_error where one cannot be read.
LanguageModel read_model_folder(const std::string& folder);

}  // namespace recurlm
