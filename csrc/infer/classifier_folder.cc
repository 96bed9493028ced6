#include "infer/classifier_folder.h"

#include <algorithm>
#include <utility>

#include "infer/stored_network.h"

namespace recurlm {

namespace {

struct Config {
  Precision precision = Precision::float32;
  CellKind cell{};
  Pooling pooling{};
  index units = 0, layers = 0, embedding_dim = 0;
  bool bidirectional = false;
  bool exported = false;  // a network of ids, which are those that its table has
  bool reads_texts = false, masks = true;
  std::int32_t limit = 0;  // of ids
  StringTable labels;
  index tags = 0;  // that its first layer can tell of steps, which nobody asks for here
};

void read_parameters(JsonReader& json, Config& config) {
  Fields fields(json, {"cell", "units", "layers", "bidirectional", "pooling", "embedding_dim"});
  json.object([&](std::string_view key) {
    if (!fields.knows(key)) return json.skip();  // what acts in training only
    constexpr Pooling poolings[] = {Pooling::last, Pooling::max, Pooling::mean, Pooling::none};
    switch (fields.take(key)) {
      case 0: config.cell = read_cell(json); break;
      case 1: config.units = json.integer(1, most_extent); break;
      case 2: config.layers = json.integer(1, 1000); break;
      case 3: config.bidirectional = json.boolean(); break;
      case 4: config.pooling = poolings[read_choice(json, {"last", "max", "mean", "none"})]; break;
      default: config.embedding_dim = json.integer(1, most_extent);
    }
  });
  fields.require_all();
}

std::string read_label(JsonReader& json) {
  switch (json.peek()) {
    case JsonReader::Kind::string: return json.string();
    case JsonReader::Kind::boolean: return json.boolean() ? "true" : "false";
    default: return std::string(json.number());
  }
}

StringTable read_labels(JsonReader& json) {
  StringTable labels;
  Fields fields(json, {"values"});
  json.object([&](std::string_view key) {
    if (!fields.knows(key)) return json.skip();
    fields.take(key);
    json.array([&] { labels.add(read_label(json).append(1, '\0')); });
  });
  fields.require_all();
  return labels;
}

void read_input(JsonReader& json, Config& config) {
  Fields fields(json, {"kind", "arguments"});
  bool limited = false;
  json.object([&](std::string_view key) {
    if (!fields.knows(key)) return json.skip();
    if (fields.take(key) == 0) {
      const std::size_t kind = read_choice(json, {"text", "ids", "numbers"});
      if (kind == 2) json.fail("a classifier of numbers runs in Python only");
      config.reads_texts = kind == 0;
      return;
    }
    json.object([&](std::string_view argument) {
      if (argument == "mask_zero") return static_cast<void>(config.masks = json.boolean());
      if (argument != "limit") return json.skip();
      config.limit = static_cast<std::int32_t>(json.integer(0, most_extent - 2));
      limited = true;
    });
  });
  fields.require_all();
  if (!config.reads_texts && !limited) json.fail("\"limit\" is missing");
}

Config read_config(std::string_view text) {
  JsonReader json(text);
  Config config;
  Fields fields(json, {"format_version", "kind", "parameters", "classes", "input"});
  json.object([&](std::string_view key) {
    if (key == "precision") return static_cast<void>(config.precision = read_precision(json));
    if (key == "tags") return static_cast<void>(config.tags = read_labels(json).size());
    if (key == format_of_models) refuse_model(json);
    if (!fields.knows(key)) return json.skip();
    switch (fields.take(key)) {
      case 0: json.integer(1, 1); break;
      case 1: config.exported = read_kind(json, {"sequence_classifier", "exported_classifier"}) == 1; break;
      case 2: read_parameters(json, config); break;
      case 3: config.labels = read_labels(json); break;
      default: read_input(json, config);
    }
  });
  fields.require_all();
  json.end();
  if (config.labels.size() == 0) json.fail("there are no classes");
  if (config.reads_texts && config.pooling == Pooling::none) json.fail("steps are classified of ids only");
  return config;
}

std::unique_ptr<PackedClassifier> read_network(const Config& config, index symbols, const MappedFile& file) {
  StoredNetwork stored(read_safetensors(file.bytes()), config.precision);
  const index width = config.units * (config.bidirectional ? 2 : 1), classes = config.labels.size();
  const StoredMatrix embedding = stored.matrix("embedding.embeddings", symbols, config.embedding_dim, true);
  std::vector<ClassifierLayer> layers;
  for (index i = 0; i < config.layers; ++i) {
    const CellSpec spec{config.cell, i == 0 ? config.embedding_dim : width, config.units};
    const std::string name = std::string(cell_name(config.cell)) + "_" + std::to_string(i), both = "both_" + name;
    layers.push_back({stored.cell(config.bidirectional ? both + ".forward_layer" : name, spec), std::nullopt});
    if (config.bidirectional) layers.back().backward = stored.cell(both + ".backward_layer", spec);
  }
  const ClassifierOutput output{stored.matrix("classes.kernel", width, classes), stored.vector("classes.bias", {classes})};
  if (config.tags > 0) {
    stored.matrix("tags.kernel", width, config.tags);
    stored.vector("tags.bias", {config.tags});
  }
  stored.require_all_taken();
  return std::make_unique<PackedClassifier>(embedding, config.masks, layers, config.pooling, output);
}

// What is unknown stands behind the vocabulary where that has no symbol for it.
std::int32_t unknown_symbol(const Tokenizer& tokenizer) {
  return 1 + (tokenizer.unknown_id() < 0 ? static_cast<std::int32_t>(tokenizer.size()) : tokenizer.unknown_id());
}

}  // namespace

TokenIds SequenceClassifier::symbols_of(std::string_view text) const {
  TokenIds symbols = tokenizer->encode(text);
  for (std::int32_t& symbol : symbols) ++symbol;  // 0 is padding
  return symbols;
}

SequenceClassifier read_classifier_folder(const std::string& folder) {
  using File = std::shared_ptr<const MappedFile>;
  Config config = read_part(folder, "config.json", [](const File& file) { return read_config(file->bytes()); });
  SequenceClassifier classifier{nullptr, config.limit, config.exported, nullptr, {}};
  index symbols = index{config.limit} + 1;
  if (config.reads_texts) {
    classifier.tokenizer = read_part(folder, "tokenizer.json", [](const File& file) { return read_tokenizer(file->bytes()); });
    symbols = std::max(classifier.tokenizer->size(), index{unknown_symbol(*classifier.tokenizer)}) + 1;
  }
  classifier.network = read_part(folder, "model.safetensors", [&](const File& file) { return read_network(config, symbols, *file); });
  classifier.labels = std::move(config.labels);
  return classifier;
}

}  // namespace recurlm
