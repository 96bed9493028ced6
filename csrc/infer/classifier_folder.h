// A sequence classifier, or a network that was exported as one, as it lies on disk: config.json, model.safetensors and, where it reads
// texts, tokenizer.json.
#pragma once

#include <algorithm>
#include <memory>
#include <string>

#include "infer/packed_classifier.h"
#include "text/string_table.h"
#include "text/tokenizer.h"

namespace recurlm {

struct SequenceClassifier {
  std::unique_ptr<Tokenizer> tokenizer;  // null where it reads ids
  std::int32_t greatest_id;              // of ids
  bool closed;                           // whether there are no ids above; else they are one unknown, that one
  std::unique_ptr<PackedClassifier> network;
  StringTable labels;  // of the classes; those that are no texts as JSON writes them, each with a zero behind it

  // Of which the network is about: its ids for a text, TextError as Tokenizer::encode, or for an id.
  TokenIds symbols_of(std::string_view text) const;
  std::int32_t symbol_of(std::int32_t id) const { return std::min(id, greatest_id); }
};

// FormatError, with the name of the file, where one of them is not right; std::system_error where one cannot be read.
SequenceClassifier read_classifier_folder(const std::string& folder);

}  // namespace recurlm
