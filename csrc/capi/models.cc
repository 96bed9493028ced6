// Models, their vocabularies, scoring.
#include <algorithm>
#include <cmath>
#include <numeric>

#include "capi/calls.h"
#include "capi/handles.h"
#include "cpu/threads.h"
#include "infer/scoring.h"

namespace recurlm::capi {

namespace {

// `values` to `to`, where there is room for all.
template <typename T, typename Values>
void hand_out(const Values& values, T* to, std::size_t capacity, std::size_t* count) {
  require(count != nullptr, "the place for the count must not be null");
  *count = values.size();
  if (capacity < values.size() || values.empty()) return;
  require(to != nullptr, "the place for the result must not be null");
  std::copy(values.begin(), values.end(), to);
}

}  // namespace

// Defined here, they must say again that they are visible.
extern "C" {

RECURLM_API const char* recurlm_version(void) { return RECURLM_VERSION; }

RECURLM_API int32_t recurlm_abi(void) { return RECURLM_ABI; }

RECURLM_API recurlm_status recurlm_set_threads(int32_t threads) {
  return call([&] {
    require(threads >= 1 && threads <= max_threads(), "threads must be from 1 to what the machine and the environment allow");
    set_num_threads(threads);
  });
}

RECURLM_API recurlm_status recurlm_model_open(const char* folder, recurlm_model** model) {
  return call([&] {
    require(folder != nullptr && model != nullptr, "folder and model must not be null");
    *model = nullptr;
    auto read = std::make_shared<const LanguageModel>(read_model_folder(folder));
    *model = new recurlm_model{std::move(read)};
  });
}

RECURLM_API void recurlm_model_close(recurlm_model* model) { delete model; }

RECURLM_API int64_t recurlm_vocabulary_size(const recurlm_model* model) { return model->model->tokenizer->size(); }

RECURLM_API int32_t recurlm_bos_id(const recurlm_model* model) { return model->model->tokenizer->bos_id(); }

RECURLM_API int32_t recurlm_end_id(const recurlm_model* model) { return model->model->tokenizer->end_id(); }

RECURLM_API recurlm_status recurlm_encode(const recurlm_model* model, const char* text, size_t length, int32_t* ids, size_t capacity,
                              size_t* count) {
  return call([&] {
    require(model != nullptr, "model must not be null");
    hand_out(model->model->tokenizer->encode(text_of(text, length)), ids, capacity, count);
  });
}

RECURLM_API recurlm_status recurlm_decode(const recurlm_model* model, const int32_t* ids, size_t count, char* text, size_t capacity,
                              size_t* length) {
  return call([&] {
    require(model != nullptr && (ids != nullptr || count == 0), "model and ids must not be null");
    const Tokenizer& tokenizer = *model->model->tokenizer;
    const auto decoder = tokenizer.decoder({});
    std::string decoded;
    for (std::size_t i = 0; i < count; ++i) {
      require(ids[i] >= 0 && ids[i] < tokenizer.size(), "ids must be from 0 to below the size of the vocabulary");
      decoded += decoder->feed(ids[i]);
    }
    decoded += decoder->finish();
    hand_out(decoded, text, capacity, length);
  });
}

RECURLM_API recurlm_status recurlm_score(const recurlm_model* model, const char* const* texts, const size_t* lengths, size_t count,
                             int32_t end, double* log_probs) {
  return call([&] {
    require(model != nullptr, "model must not be null");
    require(count == 0 || (texts && lengths && log_probs), "texts, lengths and log_probs must not be null");
    const LanguageModel& lm = *model->model;
    TokenIds ids;
    std::vector<index> offsets{0};
    for (std::size_t i = 0; i < count; ++i) {
      const TokenIds text = lm.tokenizer->encode(text_of(texts[i], lengths[i]));
      ids.insert(ids.end(), text.begin(), text.end());
      if (end) ids.push_back(lm.tokenizer->end_id());
      offsets.push_back(static_cast<index>(ids.size()));
    }
    std::vector<float> each(ids.size());
    TokenIds predictions(ids.size());
    score_texts(*lm.network, offsets, ids.data(), lm.tokenizer->bos_id(), {each.data(), predictions.data()});
    for (std::size_t i = 0; i < count; ++i) {
      log_probs[i] = std::accumulate(each.begin() + offsets[i], each.begin() + offsets[i + 1], 0.0);
      if (!std::isfinite(log_probs[i])) throw std::domain_error("the model's output is not finite");
    }
  });
}

}  // extern "C"

}  // namespace recurlm::capi
