#include "infer/stored_network.h"

#include <algorithm>

#include "base/utf8.h"

namespace recurlm {

namespace {

std::size_t read_one_of(JsonReader& json, std::initializer_list<std::string_view> names, const char* otherwise) {
  const std::string found = json.string();
  const auto place = std::find(names.begin(), names.end(), found);
  if (place == names.end()) json.fail("\"" + shortened(found) + otherwise);
  return static_cast<std::size_t>(place - names.begin());
}

}  // namespace

std::size_t read_choice(JsonReader& json, std::initializer_list<std::string_view> names) {
  return read_one_of(json, names, "\" is not known here");
}

std::size_t read_kind(JsonReader& json, std::initializer_list<std::string_view> names) {
  return read_one_of(json, names, "\" is a kind that another function opens, or none");
}

void refuse_model(const JsonReader& json) { json.fail("it is a Model: recurlm pack makes what this library opens"); }

CellKind read_cell(JsonReader& json) {
  constexpr CellKind cells[] = {CellKind::rnn, CellKind::gru, CellKind::lstm};
  return cells[read_choice(json, {"rnn", "gru", "lstm"})];
}

const char* cell_name(CellKind kind) { return kind == CellKind::rnn ? "rnn" : kind == CellKind::gru ? "gru" : "lstm"; }

Precision read_precision(JsonReader& json) {
  constexpr Precision precisions[] = {Precision::float32, Precision::bfloat16, Precision::int8};
  return precisions[read_choice(json, {"float32", "bfloat16", "int8"})];
}

const StoredArray& StoredNetwork::take(const std::string& name, ElementType type, const std::vector<index>& shape) {
  const auto found = std::lower_bound(arrays_.begin(), arrays_.end(), name,
                                      [](const StoredArray& a, const std::string& sought) { return a.name < sought; });
  if (found == arrays_.end() || found->name != name) throw FormatError("the array \"" + name + "\" is missing");
  if (found->type != type || found->shape != shape)
    throw FormatError("the array \"" + name + "\" has another shape or type than config.json and tokenizer.json say");
  ++taken_;
  return *found;
}

StoredMatrix StoredNetwork::matrix(const std::string& name, index rows, index cols, bool scales_of_rows) {
  StoredMatrix matrix{precision_, nullptr, rows, cols};
  const bool int8 = precision_ == Precision::int8;
  if (int8 && (scales_of_rows ? cols : rows) >= kernels::int8_max_depth)
    throw FormatError("the array \"" + name + "\" is too wide for int8");
  if (!values_) return matrix;  // they are not looked at: a byte of -128 makes sums wrong, and nothing else
  matrix.data = take(name, element_type(precision_), {rows, cols}).data;
  if (!int8) return matrix;
  const auto* values = static_cast<const std::int8_t*>(matrix.data);
  if (std::find(values, values + rows * cols, -128) != values + rows * cols)
    throw FormatError("the array \"" + name + "\" must hold integers from -127 to 127, got -128");
  matrix.scales = vector(name + ".scales", {scales_of_rows ? rows : cols});
  return matrix;
}

const float* StoredNetwork::vector(const std::string& name, const std::vector<index>& shape) {
  return values_ ? static_cast<const float*>(take(name, ElementType::float32, shape).data) : nullptr;
}

ModelLayer StoredNetwork::cell(const std::string& name, const CellSpec& spec) {
  const index columns = spec.gates() * spec.units;
  ModelLayer layer{spec, matrix(name + ".kernel", spec.input_dim, columns),
                   matrix(name + ".recurrent_kernel", spec.units, columns), nullptr};
  layer.bias = spec.separate_recurrent_gates() ? vector(name + ".bias", {2, columns}) : vector(name + ".bias", {columns});
  return layer;
}

void StoredNetwork::require_all_taken() const {
  if (taken_ != arrays_.size()) throw FormatError("there are arrays that no part of the model has");
}

}  // namespace recurlm
