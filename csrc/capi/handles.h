// What the opaque handles of recurlm.h are.
#pragma once

#include <memory>
#include <string>

#include "capi/recurlm.h"
#include "infer/classifier_folder.h"
#include "infer/decoding_state.h"
#include "infer/model_folder.h"
#include "infer/sampling.h"

struct recurlm_model {
  std::shared_ptr<const recurlm::LanguageModel> model;
};

struct recurlm_classifier {
  recurlm::SequenceClassifier classifier;
};

struct recurlm_cache {
  std::shared_ptr<const recurlm::LanguageModel> model;
  recurlm::PrefixCache states;
};

struct recurlm_state {
  std::shared_ptr<const recurlm::LanguageModel> model;
  recurlm::DecodingState state;
};

struct recurlm_generation {
  std::shared_ptr<const recurlm::LanguageModel> model;
  recurlm::DecodingState state;
  recurlm::Sampling sampling;
  recurlm::TokenIds stop_ids;
  std::unique_ptr<recurlm::Tokenizer::Decoder> decoder;
  recurlm::index left;    // tokens that may still be drawn
  recurlm::index draws;   // in the next call
  std::string piece;
  bool finished = false;
};
