// A sequence classifier as it lies on disk: config.json, model.safetensors and, where it reads texts, tokenizer.json.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "infer/packed_classifier.h"
#include "text/tokenizer.h"

namespace recurlm {

struct SequenceClassifier {
  std::unique_ptr<Tokenizer> tokenizer;  // null where it reads ids
  std::int32_t unknown_id;               // of ids: this one and all above are one unknown
  std::unique_ptr<PackedClassifier> network;
  std::vector<std::string> labels;  // of the classes; those that are no texts as JSON writes them

  // Symbols of the network for a text; TextError as Tokenizer::encode.
  TokenIds symbols_of(std::string_view text) const;
};

// FormatError, with the name of the file, where one of them is not right; std::system_error where one cannot be read.
SequenceClassifier read_classifier_folder(const std::string& folder);

}  // namespace recurlm
