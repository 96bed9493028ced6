// The files of a saved network: its shapes from what config.json says, its values from arrays that may be anything.
#pragma once

#include <initializer_list>
#include <memory>
#include <string>
#include <vector>

#include "files/json_reader.h"
#include "files/mapped_file.h"
#include "files/safetensors.h"
#include "infer/packed_layer.h"

namespace recurlm {

constexpr index most_extent = index{1} << 31;

// One of `names`, by its place.
std::size_t read_choice(JsonReader& json, std::initializer_list<std::string_view> names);
// Of what kind a folder is; one that is none of `names` is not for this reader.
std::size_t read_kind(JsonReader& json, std::initializer_list<std::string_view> names);
// The first member of a Model's configuration.
constexpr std::string_view format_of_models = "format";
[[noreturn]] void refuse_model(const JsonReader& json);
CellKind read_cell(JsonReader& json);
const char* cell_name(CellKind kind);
Precision read_precision(JsonReader& json);

// The arrays of a network, by name, each of which must be asked for once. FormatError where one is not as it must be.
class StoredNetwork {
 public:
  // Without `values` only the shapes of matrices and vectors count: the arrays are those that a packed network gave.
  StoredNetwork(std::vector<StoredArray> arrays, Precision precision, bool values = true)
      : arrays_(std::move(arrays)), precision_(precision), values_(values) {}

  const StoredArray& take(const std::string& name, ElementType type, const std::vector<index>& shape);
  // (rows, cols), with scales of rows or columns in int8.
  StoredMatrix matrix(const std::string& name, index rows, index cols, bool scales_of_rows = false);
  const float* vector(const std::string& name, const std::vector<index>& shape);
  ModelLayer cell(const std::string& name, const CellSpec& spec);
  void require_all_taken() const;

 private:
  std::vector<StoredArray> arrays_;
  std::size_t taken_ = 0;
  Precision precision_;
  bool values_;
};

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

}  // namespace recurlm
