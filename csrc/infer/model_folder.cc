#include "infer/model_folder.h"

#include <algorithm>
#include <vector>

#include "base/utf8.h"
#include "files/json_reader.h"
#include "files/mapped_file.h"
#include "files/safetensors.h"

namespace recurlm {

namespace {

constexpr index most = index{1} << 31;  // of any extent

struct Config {
  std::string tokenizer;
  CellKind cell;
  Precision precision = Precision::float32;
  index units = 0, layers = 0, embedding_dim = 0;
  bool tied = false, separate_texts = false;
  bool packed = false;  // packed.safetensors has the arrays of PackedModel, in place of model.safetensors
};

// One of `names`, by its place.
std::size_t read_choice(JsonReader& json, std::initializer_list<std::string_view> names) {
  const std::string found = json.string();
  const auto place = std::find(names.begin(), names.end(), found);
  if (place == names.end()) json.fail("\"" + shortened(found) + "\" is not known here");
  return static_cast<std::size_t>(place - names.begin());
}

Config read_config(std::string_view text) {
  JsonReader json(text);
  Config config{};
  Fields fields(json, {"format_version", "kind", "tokenizer", "cell", "units", "layers", "embedding_dim", "tie_weights",
                       "separate_texts"});
  json.object([&](std::string_view key) {
    if (key == "precision") {
      constexpr Precision precisions[] = {Precision::float32, Precision::bfloat16, Precision::int8};
      config.precision = precisions[read_choice(json, {"float32", "bfloat16", "int8"})];
      return;
    }
    if (!fields.knows(key)) return json.skip();  // what acts in training only
    constexpr CellKind cells[] = {CellKind::rnn, CellKind::gru, CellKind::lstm};
    switch (fields.take(key)) {
      case 0: json.integer(1, 1); break;
      case 1: config.packed = read_choice(json, {"language_model", "packed_language_model"}) == 1; break;
      case 2: config.tokenizer = json.string(); break;
      case 3: config.cell = cells[read_choice(json, {"rnn", "gru", "lstm"})]; break;
      case 4: config.units = json.integer(1, most); break;
      case 5: config.layers = json.integer(1, 1000); break;
      case 6: config.embedding_dim = json.integer(1, most); break;
      case 7: config.tied = json.boolean(); break;
      default: config.separate_texts = json.boolean();
    }
  });
  fields.require_all();
  json.end();
  if (config.tied && config.embedding_dim != config.units) json.fail("tied weights need embedding_dim to be units");
  return config;
}

const char* cell_name(CellKind kind) { return kind == CellKind::rnn ? "rnn" : kind == CellKind::gru ? "gru" : "lstm"; }

// The arrays of a file, each of which must be asked for once.
class Arrays {
 public:
  explicit Arrays(std::vector<StoredArray> arrays) : arrays_(std::move(arrays)) {}

  const StoredArray& take(const std::string& name, ElementType type, const std::vector<index>& shape) {
    const auto found = std::find_if(arrays_.begin(), arrays_.end(), [&](const StoredArray& a) { return a.name == name; });
    if (found == arrays_.end()) throw FormatError("the array \"" + name + "\" is missing");
    if (found->type != type || found->shape != shape)
      throw FormatError("the array \"" + name + "\" has another shape or type than config.json and tokenizer.json say");
    ++taken_;
    return *found;
  }
  void require_all_taken() const {
    if (taken_ != arrays_.size()) throw FormatError("there are arrays that no part of the model has");
  }

 private:
  std::vector<StoredArray> arrays_;
  std::size_t taken_ = 0;
};

// A network of the shapes that config.json and tokenizer.json say, from the arrays of model.safetensors; or, without these, from
// those of packed.safetensors.
class NetworkReader {
 public:
  NetworkReader(const Config& config, index vocabulary, Arrays& arrays)
      : config_(config), vocabulary_(vocabulary), arrays_(arrays) {}

  std::unique_ptr<PackedModel> read(std::shared_ptr<const MappedFile> file);

 private:
  // (rows, cols), with scales of rows or columns in int8.
  StoredMatrix matrix(const std::string& name, index rows, index cols, bool scales_of_rows);
  const float* vector(const std::string& name, const std::vector<index>& shape) {
    return config_.packed ? nullptr : static_cast<const float*>(arrays_.take(name, ElementType::float32, shape).data);
  }
  ModelLayer layer(index place, index width);

  const Config& config_;
  const index vocabulary_;
  Arrays& arrays_;
};

StoredMatrix NetworkReader::matrix(const std::string& name, index rows, index cols, bool scales_of_rows) {
  StoredMatrix matrix{config_.precision, nullptr, rows, cols};
  const bool int8 = config_.precision == Precision::int8;
  if (int8 && (scales_of_rows ? cols : rows) >= kernels::int8_max_depth)
    throw FormatError("the array \"" + name + "\" is too wide for int8");
  if (config_.packed) return matrix;  // its values are not looked at: a byte of -128 makes sums wrong, and nothing else
  matrix.data = arrays_.take(name, element_type(config_.precision), {rows, cols}).data;
  if (!int8) return matrix;
  const auto* values = static_cast<const std::int8_t*>(matrix.data);
  if (std::find(values, values + rows * cols, -128) != values + rows * cols)
    throw FormatError("the array \"" + name + "\" must hold integers from -127 to 127, got -128");
  matrix.scales = vector(name + ".scales", {scales_of_rows ? rows : cols});
  return matrix;
}

ModelLayer NetworkReader::layer(index place, index width) {
  const CellSpec spec{config_.cell, width, config_.units};
  const std::string name = std::string(cell_name(config_.cell)) + "_" + std::to_string(place) + ".";
  const index columns = spec.gates() * spec.units;
  ModelLayer layer{spec, matrix(name + "kernel", width, columns, false),
                   matrix(name + "recurrent_kernel", spec.units, columns, false), nullptr};
  layer.bias = spec.separate_recurrent_gates() ? vector(name + "bias", {2, columns}) : vector(name + "bias", {columns});
  return layer;
}

std::unique_ptr<PackedModel> NetworkReader::read(std::shared_ptr<const MappedFile> file) {
  const StoredMatrix embedding = matrix("embedding.embeddings", vocabulary_, config_.embedding_dim, true);
  std::vector<ModelLayer> layers;
  for (index i = 0; i < config_.layers; ++i) layers.push_back(layer(i, i == 0 ? config_.embedding_dim : config_.units));
  const StoredMatrix kernel = config_.tied ? embedding : matrix("projection.kernel", config_.units, vocabulary_, false);
  const ModelProjection projection{kernel, config_.tied, vector("projection.bias", {vocabulary_})};
  std::unique_ptr<PackedModel> model;
  if (config_.packed)
    model = std::make_unique<PackedModel>(embedding, layers, projection, std::move(file), [&](const StoredArray& array) {
      return arrays_.take(array.name, array.type, array.shape).data;
    });
  arrays_.require_all_taken();
  return model ? std::move(model) : std::make_unique<PackedModel>(embedding, layers, projection);
}

// read(file), for one of the files in a folder; a FormatError says which it was.
template <typename Read>
auto read_part(const std::string& folder, const char* name, Read&& read) {
  const std::string path = folder + "/" + name;
  const auto file = std::make_shared<const MappedFile>(path);
  try {
    return read(file);
  } catch (const FormatError& error) {
    throw FormatError(path + ": " + error.what());
  }
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
    Arrays arrays(read_safetensors(file->bytes()));
    return NetworkReader(config, model.tokenizer->size(), arrays).read(file);
  });
  return model;
}

}  // namespace recurlm
