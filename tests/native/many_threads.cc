// Many threads with one model: recurlm_many_threads_test MODELS [CALLS]
//
// 64 threads, each CALLS times, score texts and generate from each of the models, or classify; every result has the bits of the
// serial one.
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "capi/recurlm.h"

namespace {

constexpr int thread_count = 64, kinds = 12;

void check(recurlm_status status) {
  if (status != RECURLM_OK) throw std::runtime_error(recurlm_message());
}

std::string generated(const recurlm_model* model, int kind) {
  recurlm_options options;
  recurlm_options_init(&options);
  options.max_tokens = 5 + kind;
  options.seed = static_cast<uint64_t>(kind);
  options.top_k = kind % 3 == 0 ? 5 : 0;
  recurlm_generation* generation;
  check(recurlm_generation_begin(model, "the ", 4, &options, &generation));
  std::string text;
  const char* piece;
  size_t length;
  do {
    check(recurlm_generation_next(generation, &piece, &length));
    text.append(piece ? piece : "", length);
  } while (piece);
  recurlm_generation_end(generation);
  return text;
}

std::string scored(const recurlm_model* model, int kind) {
  const std::string longer = "a dog ran after the hat the cat sat on";
  const char* texts[] = {longer.c_str(), "the cat", ""};
  const size_t lengths[] = {longer.size() - static_cast<size_t>(kind), 7, 0};
  double log_probs[3];
  check(recurlm_score(model, texts, lengths, 3, kind % 2, log_probs));
  return {reinterpret_cast<const char*>(log_probs), sizeof log_probs};
}

std::string searched(const recurlm_model* model, int kind) {
  recurlm_beam_options options;
  recurlm_beam_options_init(&options);
  options.max_tokens = 3 + kind;
  recurlm_beams* beams;
  check(recurlm_beams_search(model, "a", 1, &options, &beams));
  recurlm_beam beam;
  check(recurlm_beams_get(beams, 0, &beam));
  const std::string text(beam.text, beam.length);
  recurlm_beams_free(beams);
  return text;
}

// The bytes of the result of call `kind`.
std::string result(const recurlm_model* model, int kind) {
  return kind % 4 == 3 ? searched(model, kind) : kind % 2 ? generated(model, kind) : scored(model, kind);
}

std::string result(const recurlm_classifier* classifier, int kind) {
  if (!recurlm_classifies_texts(classifier)) {
    const int32_t ids[] = {1, 2, 3, 4, 5, 6, 7, 8, 1, 2, 3, 4, 5};
    const size_t offsets[] = {0, static_cast<size_t>(kind), 13};
    std::vector<float> log_probs(13 * recurlm_classes(classifier));
    check(recurlm_classify_ids(classifier, ids, offsets, 2, log_probs.data()));
    return {reinterpret_cast<const char*>(log_probs.data()), sizeof(float) * log_probs.size()};
  }
  const std::string longer = "a dog ran after the hat the cat sat on";
  const char* texts[] = {longer.c_str(), "the cat", ""};
  const size_t lengths[] = {longer.size() - static_cast<size_t>(kind), 7, 0};
  std::vector<float> log_probs(3 * recurlm_classes(classifier));
  check(recurlm_classify(classifier, texts, lengths, 3, log_probs.data()));
  return {reinterpret_cast<const char*>(log_probs.data()), sizeof(float) * log_probs.size()};
}

template <typename Handle>
void run(recurlm_status (*open)(const char*, Handle**), void (*close)(Handle*), const std::filesystem::path& folder, int calls) {
  Handle* model;
  check(open(folder.string().c_str(), &model));
  std::vector<std::string> expected;
  for (int kind = 0; kind < kinds; ++kind) expected.push_back(result(model, kind));
  std::vector<std::string> failures(thread_count);
  std::vector<std::thread> threads;
  for (int t = 0; t < thread_count; ++t)
    threads.emplace_back([&, t] {
      try {
        for (int call = 0; call < calls; ++call) {
          const int kind = (t * 7 + call) % kinds;
          if (result(model, kind) != expected[static_cast<size_t>(kind)]) throw std::runtime_error("other bits than alone");
        }
      } catch (const std::exception& error) {
        failures[static_cast<size_t>(t)] = error.what();
      }
    });
  for (std::thread& thread : threads) thread.join();
  close(model);
  for (const std::string& failure : failures)
    if (!failure.empty()) throw std::runtime_error(folder.filename().string() + ": " + failure);
}

void run(const std::filesystem::path& folder, int calls) {
  if (folder.filename().string().rfind("classifier", 0) == 0)
    run(recurlm_classifier_open, recurlm_classifier_close, folder, calls);
  else
    run(recurlm_model_open, recurlm_model_close, folder, calls);
}

}  // namespace

int main(int argc, char** argv) try {
  if (argc < 2) throw std::runtime_error("usage: recurlm_many_threads_test MODELS [CALLS]");
  const int calls = argc > 2 ? std::stoi(argv[2]) : 20;
  int models = 0;
  for (const auto& entry : std::filesystem::directory_iterator(argv[1]))
    if (entry.is_directory()) run(entry.path(), calls), ++models;
  if (models == 0) throw std::runtime_error("there are no models in " + std::string(argv[1]));
  std::printf("%d threads, %d calls each: the bits of the serial ones\n", thread_count, calls);
  return 0;
} catch (const std::exception& error) {
  std::fprintf(stderr, "%s\n", error.what());
  return 1;
}
