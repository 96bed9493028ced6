#include "infer/model_folder.h"

#include <vector>

#include "infer/stored_network.h"

namespace recurlm {

namespace {

struct Config {
  std::string tokenizer;
  CellKind cell;
  Precision precision = Precision::float32;
  index units = 0, layers = 0, embedding_dim = 0;
  bool tied = false, separate_texts = false;
  bool packed = false;  // packed.safetensors has the arrays of PackedModel, in place of model.safetensors
};

Config read_config(std::string_view text) {
  JsonReader json(text);
  Config config{};
  Fields fields(json, {"format_version", "kind", "tokenizer", "cell", "units", "layers", "embedding_dim", "tie_weights",
                       "separate_texts"});
  json.object([&](std::string_view key) {
    if (key == "precision") return static_cast<void>(config.precision = read_precision(json));
    if (key == format_of_models) refuse_model(json);
    if (!fields.knows(key)) return json.skip();  // what acts in training only
    switch (fields.take(key)) {
      case 0: json.integer(1, 1); break;
      case 1: config.packed = read_kind(json, {"language_model", "packed_language_model"}) == 1; break;
      case 2: config.tokenizer = json.string(); break;
      case 3: config.cell = read_cell(json); break;
      case 4: config.units = json.integer(1, most_extent); break;
      case 5: config.layers = json.integer(1, 1000); break;
      case 6: config.embedding_dim = json.integer(1, most_extent); break;
      case 7: config.tied = json.boolean(); break;
      default: config.separate_texts = json.boolean();
    }
  });
  fields.require_all();
  json.end();
  if (config.tied && config.embedding_dim != config.units) json.fail("tied weights need embedding_dim to be units");
  return config;
}

// From the arrays of model.safetensors; or, packed, from those of packed.safetensors.
std::unique_ptr<PackedModel> read_network(const Config& config, index vocabulary, std::shared_ptr<const MappedFile> file) {
  StoredNetwork stored(read_safetensors(file->bytes()), config.precision, !config.packed);
  const StoredMatrix embedding = stored.matrix("embedding.embeddings", vocabulary, config.embedding_dim, true);
  std::vector<ModelLayer> layers;
  for (index i = 0; i < config.layers; ++i)
    layers.push_back(stored.cell(std::string(cell_name(config.cell)) + "_" + std::to_string(i),
                                 {config.cell, i == 0 ? config.embedding_dim : config.units, config.units}));
  const StoredMatrix kernel = config.tied ? embedding : stored.matrix("projection.kernel", config.units, vocabulary);
  const ModelProjection projection{kernel, config.tied, stored.vector("projection.bias", {vocabulary})};
  std::unique_ptr<PackedModel> model;
  if (config.packed)
    model = std::make_unique<PackedModel>(embedding, layers, projection, std::move(file), [&](const StoredArray& array) {
      return stored.take(array.name, array.type, array.shape).data;
    });
  stored.require_all_taken();
  return model ? std::move(model) : std::make_unique<PackedModel>(embedding, layers, projection);
}

}  // namespace

LanguageModel read_model_folder(const std::string& folder) {
  using File = std::shared_ptr<const MappedFile>;
  const Config config = read_part(folder, "config.json", [](const File& file) { return read_config(file->bytes()); });
  LanguageModel model{read_part(folder, "tokenizer.json", [](const File& file) { return read_tokenizer(file->bytes()); }), nullptr,
                      config.separate_texts};
  if (model.tokenizer->kind() != config.tokenizer)
    throw FormatError(folder + "/tokenizer.json is of another kind than config.json says");
  model.network = read_part(folder, config.packed ? "packed.safetensors" : "model.safetensors", [&](const File& file) {
    return read_network(config, model.tokenizer->size(), file);
  });
  return model;
}

}  // namespace recurlm
