// Classifiers of texts and of sequences of ids.
#include <algorithm>
#include <cmath>

#include "capi/calls.h"
#include "capi/handles.h"

namespace recurlm::capi {

namespace {

void classify(const SequenceClassifier& classifier, const std::vector<index>& offsets, const TokenIds& symbols, float* log_probs) {
  classifier.network->classify(offsets, symbols.data(), log_probs);
  const index results = classifier.network->classifies_steps() ? offsets.back() : static_cast<index>(offsets.size() - 1);
  const index count = results * classifier.network->classes();
  if (std::any_of(log_probs, log_probs + count, [](float x) { return std::isnan(x); }))
    throw std::domain_error("the model's output is not finite");
}

}  // namespace

extern "C" {

RECURLM_API recurlm_status recurlm_classifier_open(const char* folder, recurlm_classifier** classifier) {
  return call([&] {
    require(folder != nullptr && classifier != nullptr, "folder and classifier must not be null");
    *classifier = nullptr;
    *classifier = new recurlm_classifier{read_classifier_folder(folder)};
  });
}

RECURLM_API void recurlm_classifier_close(recurlm_classifier* classifier) { delete classifier; }

RECURLM_API int32_t recurlm_classifies_texts(const recurlm_classifier* classifier) {
  return classifier->classifier.tokenizer != nullptr;
}

RECURLM_API int32_t recurlm_classifies_steps(const recurlm_classifier* classifier) {
  return classifier->classifier.network->classifies_steps();
}

RECURLM_API size_t recurlm_classes(const recurlm_classifier* classifier) {
  return static_cast<size_t>(classifier->classifier.labels.size());
}

RECURLM_API recurlm_status recurlm_class_label(const recurlm_classifier* classifier, size_t place, const char** label, size_t* length) {
  return call([&] {
    require(classifier != nullptr && label != nullptr && length != nullptr, "classifier, label and length must not be null");
    require(place < recurlm_classes(classifier), "there is no such class");
    const std::string_view found = classifier->classifier.labels[static_cast<index>(place)];
    *label = found.data();
    *length = found.size() - 1;  // without the zero
  });
}

RECURLM_API recurlm_status recurlm_classify(const recurlm_classifier* classifier, const char* const* texts, const size_t* lengths,
                                            size_t count, float* log_probs) {
  return call([&] {
    require(classifier != nullptr, "classifier must not be null");
    require(count == 0 || (texts && lengths && log_probs), "texts, lengths and log_probs must not be null");
    const SequenceClassifier& network = classifier->classifier;
    require(network.tokenizer != nullptr, "this classifier reads ids: recurlm_classify_ids");
    TokenIds symbols;
    std::vector<index> offsets{0};
    for (std::size_t i = 0; i < count; ++i) {
      const TokenIds text = network.symbols_of(text_of(texts[i], lengths[i]));
      symbols.insert(symbols.end(), text.begin(), text.end());
      offsets.push_back(static_cast<index>(symbols.size()));
    }
    classify(network, offsets, symbols, log_probs);
  });
}

RECURLM_API recurlm_status recurlm_classify_ids(const recurlm_classifier* classifier, const int32_t* ids, const size_t* offsets,
                                                size_t count, float* log_probs) {
  return call([&] {
    require(classifier != nullptr, "classifier must not be null");
    require(count == 0 || (offsets && log_probs), "offsets and log_probs must not be null");
    const SequenceClassifier& network = classifier->classifier;
    require(network.tokenizer == nullptr, "this classifier reads texts: recurlm_classify");
    std::vector<index> starts{0};
    TokenIds symbols;
    for (std::size_t i = 0; i < count; ++i) {
      require(offsets[i] <= offsets[i + 1], "offsets must not fall");
      require(!network.closed || network.network->classifies_steps() || offsets[i] < offsets[i + 1], "a sequence must not be empty");
      require(ids != nullptr || offsets[i] == offsets[i + 1], "ids must not be null");
      for (std::size_t at = offsets[i]; at < offsets[i + 1]; ++at) {
        require(ids[at] >= 0, "ids must not be negative");
        require(!network.closed || ids[at] <= network.greatest_id, "ids must be below the number of those that the network knows");
        symbols.push_back(network.symbol_of(ids[at]));
      }
      starts.push_back(static_cast<index>(symbols.size()));
    }
    classify(network, starts, symbols, log_probs);
  });
}

}  // extern "C"

}  // namespace recurlm::capi
