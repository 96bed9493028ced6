// Models whose files are damaged: recurlm_damaged_models_test MODELS [COUNT [SEED]]
//
// COUNT times a file of one of the models is changed, in its bytes or in its structure, and the model opened; besides, one is cut
// off at every place. What opens is used. Whatever happens must take less than a second and, which the address sanitizer's hooks tell, no
// more memory than twice the files; an error must name its cause. Sanitizers see the rest.
#include <algorithm>
#include <atomic>
#include <cctype>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <random>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "capi/recurlm.h"

#if defined(__SANITIZE_ADDRESS__)
#define RECURLM_COUNTS_MEMORY 1
extern "C" {
int __sanitizer_install_malloc_and_free_hooks(void (*)(const volatile void*, std::size_t), void (*)(const volatile void*));
std::size_t __sanitizer_get_allocated_size(const volatile void*);
}
#endif

namespace {

namespace fs = std::filesystem;
using Bytes = std::string;

std::atomic<long> allocated{0}, peak{0};

void on_malloc(const volatile void*, std::size_t size) {
  const long now = allocated += static_cast<long>(size);
  if (now > peak) peak = now;
}

#ifdef RECURLM_COUNTS_MEMORY
void on_free(const volatile void* p) {
  if (p) allocated -= static_cast<long>(__sanitizer_get_allocated_size(p));
}
#endif

void require(bool ok, const std::string& what) {
  if (!ok) throw std::runtime_error(what);
}

Bytes read(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

void write(const fs::path& path, const Bytes& bytes) {
  std::ofstream(path, std::ios::binary | std::ios::trunc).write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
}

class Random {
 public:
  explicit Random(unsigned seed) : engine_(seed) {}
  std::size_t below(std::size_t n) { return n == 0 ? 0 : engine_() % n; }
  template <typename T>
  const T& of(const std::vector<T>& values) {
    return values[below(values.size())];
  }

 private:
  std::mt19937 engine_;
};

// Where tokens of JSON lie: strings, numbers, words and signs. Good enough for text that is JSON.
struct Span {
  std::size_t begin, end;
};
std::vector<Span> tokens_of(const Bytes& text) {
  std::vector<Span> spans;
  for (std::size_t at = 0; at < text.size();) {
    std::size_t end = at + 1;
    if (text[at] == '"') {
      while (end < text.size() && text[end] != '"') end += text[end] == '\\' ? 2 : 1;
      end = std::min(end + 1, text.size());
    } else if (std::isalnum(static_cast<unsigned char>(text[at])) || text[at] == '-') {
      while (end < text.size() && (std::isalnum(static_cast<unsigned char>(text[end])) || std::strchr(".+-", text[end]))) ++end;
    }
    if (!std::isspace(static_cast<unsigned char>(text[at]))) spans.push_back({at, end});
    at = end;
  }
  return spans;
}

// A token replaced by another, of the file or from a list of odd ones; or a few taken out, or repeated.
Bytes change_structure(const Bytes& text, Random& random) {
  static const std::vector<Bytes> odd{
      "0",    "-1",   "1",     "2",     "7",         "4294967295", "2147483647", "2147483648", "9223372036854775807",
      "9223372036854775808",   "1e9",   "-0",        "1.5",        "1e400",      "\"\"",       "\"\\u0000\"",
      "\"\\ud800\"", "null",   "true",  "false",     "[]",         "{}",         "[[[[[[[[",   "\"F32\"",
      "\"I8\"",      "\"U16\"", "\"I32\"", "\"int8\"", "\"bfloat16\"", "\"gru\"", "\"language_model\"", "[0,0]", "\"mean\"",
      "\"ids\"",     "\"text\""};
  const std::vector<Span> spans = tokens_of(text);
  if (spans.empty()) return text;
  const Span from = random.of(spans), to = spans[std::min(spans.size() - 1, random.below(spans.size()))];
  switch (random.below(5)) {
    case 0: return text.substr(0, from.begin) + random.of(odd) + text.substr(from.end);
    case 1: return text.substr(0, from.begin) + text.substr(to.begin, to.end - to.begin) + text.substr(from.end);
    case 2: return from.begin < to.begin ? text.substr(0, from.begin) + text.substr(to.begin) : text;
    case 3: return from.begin < to.begin ? text.substr(0, to.begin) + text.substr(from.begin) : text;
    default: return text.substr(0, from.begin) + random.of(odd) + "," + text.substr(from.begin);
  }
}

// Of a file of arrays the header, its length told as it then is.
Bytes change_header(const Bytes& bytes, Random& random) {
  std::uint64_t length = 0;
  std::memcpy(&length, bytes.data(), sizeof length);
  const Bytes header = change_structure(bytes.substr(8, length), random);
  length = header.size();
  Bytes changed(8, '\0');
  std::memcpy(changed.data(), &length, sizeof length);
  return changed + header + bytes.substr(std::min(bytes.size(), 8 + length));
}

Bytes change_bytes(Bytes bytes, Random& random) {
  const std::size_t near = random.below(2) ? bytes.size() : std::min<std::size_t>(bytes.size(), 600);
  for (std::size_t n = 1 + random.below(4); n > 0 && !bytes.empty(); --n) {
    const std::size_t at = random.below(near);
    if (at < bytes.size()) bytes[at] = static_cast<char>(random.below(256));
  }
  switch (random.below(6)) {
    case 0: return bytes.substr(0, random.below(bytes.size() + 1));
    case 1: return bytes + bytes.substr(random.below(bytes.size()));
    default: return bytes;
  }
}

struct Model {
  fs::path folder;
  bool classifies;
  std::vector<std::pair<std::string, Bytes>> files;
  long size = 0;
};

Model read_model(const fs::path& folder) {
  Model model{folder, folder.filename().string().rfind("classifier", 0) == 0, {}, 0};
  for (const char* name : {"config.json", "tokenizer.json", "model.safetensors", "packed.safetensors"})
    if (fs::exists(folder / name)) {
      model.files.emplace_back(name, read(folder / name));
      model.size += static_cast<long>(model.files.back().second.size());
    }
  return model;
}

// Everything that a caller may do; errors are answers too.
void use(recurlm_model* model) {
  const char* texts[] = {"the cat", "", "zebra"};
  const size_t lengths[] = {7, 0, 5};
  double log_probs[3];
  recurlm_score(model, texts, lengths, 3, 1, log_probs);
  recurlm_options options;
  recurlm_options_init(&options);
  options.top_k = 3;
  options.frequency_penalty = 0.5;
  recurlm_generation* generation = nullptr;
  if (recurlm_generation_begin(model, "a", 1, &options, &generation) == RECURLM_OK) {
    const char* piece;
    size_t length;
    for (int i = 0; i < 3 && recurlm_generation_next(generation, &piece, &length) == RECURLM_OK && piece; ++i) {
    }
    recurlm_generation_end(generation);
  }
  recurlm_beams* beams = nullptr;
  recurlm_beam_options beam_options;
  recurlm_beam_options_init(&beam_options);
  beam_options.max_tokens = 5;
  if (recurlm_beams_search(model, "", 0, &beam_options, &beams) == RECURLM_OK) recurlm_beams_free(beams);
}

void use(recurlm_classifier* classifier) {
  const char* texts[] = {"the cat", "", "a dog ran"};
  const size_t lengths[] = {7, 0, 9};
  std::vector<float> log_probs(4 * recurlm_classes(classifier));  // of three sequences or four ids
  recurlm_classify(classifier, texts, lengths, 3, log_probs.data());
  const int32_t ids[] = {1, 0, 2147483647, 2};
  const size_t offsets[] = {0, 3, 3, 4};
  recurlm_classify_ids(classifier, ids, offsets, 3, log_probs.data());
  const char* label;
  size_t length;
  for (size_t i = 0; i < recurlm_classes(classifier); ++i)
    require(recurlm_class_label(classifier, i, &label, &length) == RECURLM_OK && label[length] == 0, "a class has no label");
}

struct Tally {
  long opened = 0, refused = 0;
  double slowest = 0;  // seconds of processor time
  long most_memory = 0;
};

double processor_seconds() { return static_cast<double>(std::clock()) / CLOCKS_PER_SEC; }

template <typename Handle>
void open_as(recurlm_status (*open)(const char*, Handle**), void (*close)(Handle*), const fs::path& folder, long size, Tally& tally) {
  const double start = processor_seconds();
  const long before = allocated;
  peak = before;
  Handle* handle = nullptr;
  const recurlm_status status = open(folder.string().c_str(), &handle);
  const long taken = peak - before;
  if (status == RECURLM_OK) {
    ++tally.opened;
    use(handle);
    close(handle);
  } else {
    ++tally.refused;
    const std::string message = recurlm_message();
    // A configuration may have become that of the other kind, whose file is not there.
    const bool missing = status == RECURLM_IO_ERROR && message.find("No such file") != std::string::npos;
    require((status == RECURLM_DAMAGED_FILE || missing) && message.find(folder.string()) != std::string::npos &&
                message.find('\n') == std::string::npos,
            "status " + std::to_string(status) + ": " + message);
  }
  tally.slowest = std::max(tally.slowest, processor_seconds() - start);
  tally.most_memory = std::max(tally.most_memory, taken);
  require(tally.slowest < 1, "a second has passed");
  constexpr long beside = 1 << 18;  // whole panels and buffers, whatever little they hold
  require(taken < 2 * size + beside, std::to_string(taken) + " bytes for files of " + std::to_string(size));
}

void open(const Model& model, long size, Tally& tally) {
  if (model.classifies)
    open_as(recurlm_classifier_open, recurlm_classifier_close, model.folder, size, tally);
  else
    open_as(recurlm_model_open, recurlm_model_close, model.folder, size, tally);
}

// Copies of the models, of which one file at a time is another.
class Samples {
 public:
  Samples(const fs::path& models, const fs::path& scratch) : scratch_(scratch) {
    fs::remove_all(scratch);
    for (const fs::directory_entry& entry : fs::directory_iterator(models))
      if (entry.is_directory()) models_.push_back(read_model(entry.path()));
    require(!models_.empty(), "there are no models in " + models.string());
    std::sort(models_.begin(), models_.end(), [](const Model& a, const Model& b) { return a.folder < b.folder; });
    for (Model& model : models_) {
      model.folder = scratch / model.folder.filename();
      fs::create_directories(model.folder);
      for (const auto& [name, bytes] : model.files) write(model.folder / name, bytes);
      open(model, model.size, tally_);
    }
    require(tally_.refused == 0, recurlm_message());
  }
  ~Samples() { fs::remove_all(scratch_); }

  const std::vector<Model>& models() const { return models_; }
  const Tally& tally() const { return tally_; }
  void open_with(const Model& model, const std::string& name, const Bytes& whole, const Bytes& changed) {
    write(model.folder / name, changed);
    open(model, model.size + static_cast<long>(changed.size()), tally_);
    write(model.folder / name, whole);
  }

 private:
  const fs::path scratch_;
  std::vector<Model> models_;
  Tally tally_;
};

// At every place of a small file, and of the header of a larger one.
void cut_off(Samples& samples, const Model& model) {
  for (const auto& [name, bytes] : model.files)
    for (std::size_t size = 0; size < bytes.size(); size += size < 4000 ? 1 : 997)
      samples.open_with(model, name, bytes, bytes.substr(0, size));
}

Bytes change(const std::string& name, const Bytes& bytes, Random& random) {
  if (random.below(2) == 0) return change_bytes(bytes, random);
  return name.find(".safetensors") == std::string::npos ? change_structure(bytes, random) : change_header(bytes, random);
}

void run(const fs::path& models, long count, unsigned seed) {
  Samples samples(models, fs::temp_directory_path() / ("recurlm-damaged-" + std::to_string(seed) + "-" + std::to_string(count)));
  const std::vector<Model>& all = samples.models();
  for (const Model& model : {all.front(), all.back(), *std::find_if(all.begin(), all.end(), [](const Model& m) { return m.classifies; })})
    cut_off(samples, model);
  Random random(seed);
  for (long i = 0; i < count; ++i) {
    const Model& model = random.of(samples.models());
    const auto& [name, bytes] = random.of(model.files);
    samples.open_with(model, name, bytes, change(name, bytes, random));
  }
  const Tally& tally = samples.tally();
  std::printf("%ld opened, %ld refused; the slowest took %.0f ms", tally.opened, tally.refused, 1e3 * tally.slowest);
#ifdef RECURLM_COUNTS_MEMORY
  std::printf(", the most memory was %ld kB\n", tally.most_memory / 1000);
#else
  std::printf("; memory is counted under the address sanitizer only\n");
#endif
}

}  // namespace

int main(int argc, char** argv) try {
#ifdef RECURLM_COUNTS_MEMORY
  __sanitizer_install_malloc_and_free_hooks(on_malloc, on_free);
#else
  static_cast<void>(on_malloc);
#endif
  if (argc < 2) throw std::runtime_error("usage: recurlm_damaged_models_test MODELS [COUNT [SEED]]");
  recurlm_set_threads(1);
  run(argv[1], argc > 2 ? std::stol(argv[2]) : 2000, argc > 3 ? static_cast<unsigned>(std::stoul(argv[3])) : 1);
  return 0;
} catch (const std::exception& error) {
  std::fprintf(stderr, "%s\n", error.what());
  return 1;
}
