#include <algorithm>
#include <memory>
#include <string>

#include "bindings/arrays.h"
#include "bindings/bind.h"
#include "bindings/cell.h"
#include "bindings/exclusive.h"
#include "infer/scoring.h"

namespace recurlm::bindings {

namespace {

struct PyDecodingState : Exclusive<DecodingState> {
  explicit PyDecodingState(DecodingState state) : Exclusive("this decoding state", std::move(state)) {}
};

Sampling make_sampling(double temperature, index top_k, double top_p, double min_p, double repetition_penalty) {
  require(temperature >= 0 && temperature < 1e6, "temperature must be at least 0", temperature);
  require(top_k >= 0, "top_k must be at least 0", static_cast<double>(top_k));
  require(top_p > 0 && top_p <= 1, "top_p must be above 0 and at most 1", top_p);
  require(min_p >= 0 && min_p <= 1, "min_p must be from 0 to 1", min_p);
  require(repetition_penalty > 0 && repetition_penalty < 1e6, "repetition_penalty must be above 0", repetition_penalty);
  return {temperature, top_k, top_p, min_p, repetition_penalty};
}

// A float32 array, a uint16 array (bfloat16) or a tuple of an int8 array and float32 scales, one for each column or row.
enum class Channels { columns, rows };
StoredMatrix read_stored(py::handle object, const std::string& name, Channels channels, index rows = any_extent,
                         index cols = any_extent) {
  if (py::isinstance<py::tuple>(object)) {
    const auto parts = py::reinterpret_borrow<py::tuple>(object);
    if (parts.size() != 2) throw py::value_error(name + " must be an array or a tuple (int8 array, scales)");
    const py::array array = checked_array<std::int8_t>(parts[0], name.c_str(), {rows, cols}, Access::read);
    const auto* values = static_cast<const std::int8_t*>(array.data());
    if (std::find(values, values + array.size(), -128) != values + array.size())
      throw py::value_error(name + " must hold integers from -127 to 127, not -128");
    const bool by_rows = channels == Channels::rows;
    const index scales = array.shape(by_rows ? 0 : 1), depth = array.shape(by_rows ? 1 : 0);
    if (depth >= kernels::int8_max_depth)
      throw py::value_error(name + " in int8 may be at most " + std::to_string(kernels::int8_max_depth - 1) +
                            " wide, not " + std::to_string(depth));
    return {Precision::int8, array.data(), array.shape(0), array.shape(1),
            read<float>(parts[1], (name + "'s scales").c_str(), {scales})};
  }
  if (py::isinstance<py::array>(object) && py::reinterpret_borrow<py::array>(object).dtype().equal(py::dtype::of<std::uint16_t>())) {
    const py::array array = checked_array<std::uint16_t>(object, name.c_str(), {rows, cols}, Access::read);
    return {Precision::bfloat16, array.data(), array.shape(0), array.shape(1)};
  }
  const ConstMatrixView matrix = read_matrix(object, name.c_str(), rows, cols);
  return {Precision::float32, matrix.data, matrix.rows, matrix.cols};
}

ModelLayer read_layer(const py::tuple& parts, index width) {
  if (parts.size() != 4) throw py::value_error("each of cells must be (Cell, kernel, recurrent_kernel, bias)");
  const auto spec = parts[0].cast<CellSpec>();
  if (spec.input_dim != width)
    throw py::value_error("a cell has input_dim " + std::to_string(spec.input_dim) + ", but what it reads has " +
                          std::to_string(width) + " columns");
  const index gates = spec.gates() * spec.units;
  return {spec, read_stored(parts[1], "kernel", Channels::columns, width, gates),
          read_stored(parts[2], "recurrent_kernel", Channels::columns, spec.units, gates),
          read_optional<float>(parts[3], "bias", bias_shape(spec))};
}

std::unique_ptr<PackedModel> make_model(py::handle embedding, const py::sequence& cells, py::handle kernel, py::handle bias,
                                        bool transposed) {
  const StoredMatrix table = read_stored(embedding, "embedding", Channels::rows);
  std::vector<ModelLayer> layers;
  index width = table.cols;
  std::vector<py::tuple> items;  // held for as long as their memory is used
  for (std::size_t i = 0; i < cells.size(); ++i) {
    items.push_back(py::cast<py::tuple>(cells[i]));
    layers.push_back(read_layer(items.back(), width));
    width = layers.back().spec.units;
  }
  if (layers.empty()) throw py::value_error("cells must name at least one cell");
  const StoredMatrix matrix = transposed ? read_stored(kernel, "kernel", Channels::rows, any_extent, width)
                                         : read_stored(kernel, "kernel", Channels::columns, width);
  ModelProjection projection{matrix, transposed, nullptr};
  if (projection.outputs() < 1 || projection.outputs() > table.rows)
    throw py::value_error("the projection must have from 1 to " + std::to_string(table.rows) +
                          " outputs, the rows of the embedding, not " + std::to_string(projection.outputs()));
  projection.bias = read_optional<float>(bias, "bias", {projection.outputs()});
  py::gil_scoped_release release;
  return std::make_unique<PackedModel>(table, layers, projection);
}

std::vector<std::int32_t> id_vector(py::handle object, const std::string& name, index limit) {
  if (object.is_none()) return {};
  const index count = checked_array<std::int32_t>(object, name.c_str(), {any_extent}, Access::read).shape(0);
  const std::int32_t* ids = read_ids(object, name.c_str(), {count}, limit);
  return {ids, ids + count};
}

std::unique_ptr<PyDecodingState> begin(const PackedModel& model, const py::sequence& prompts, std::uint64_t seed,
                                       py::handle banned) {
  std::vector<std::vector<std::int32_t>> ids;
  for (std::size_t s = 0; s < prompts.size(); ++s) {
    const py::object prompt = prompts[s];
    ids.push_back(id_vector(prompt, "prompts[" + std::to_string(s) + "]", model.vocabulary_size()));
    if (ids.back().empty()) throw py::value_error("prompts[" + std::to_string(s) + "] must have at least one id");
  }
  const auto banned_ids = id_vector(banned, "banned", model.classes());
  std::vector<bool> allowed(static_cast<std::size_t>(model.classes()), true);
  for (std::int32_t id : banned_ids) allowed[static_cast<std::size_t>(id)] = false;
  if (std::find(allowed.begin(), allowed.end(), true) == allowed.end())
    throw py::value_error("banned must leave at least one id to draw");
  py::gil_scoped_release release;
  return std::make_unique<PyDecodingState>(recurlm::begin(model, ids, seed, banned_ids));
}

void require_usable(const PackedModel& model, const DecodingState& state) {
  if (!state.belongs_to(model)) throw py::value_error("state was begun by another model");
  if (state.failed()) throw py::value_error("state cannot go on: the model's output was not finite; begin another");
}

py::tuple generate(const PackedModel& model, PyDecodingState& state, index count, const Sampling& sampling,
                   py::handle stop_ids, bool log_probs) {
  if (count < 0) throw py::value_error("count must be at least 0, not " + std::to_string(count));
  const auto stops = id_vector(stop_ids, "stop_ids", model.classes());
  const PyDecodingState::Use use(state);
  require_usable(model, *use);
  const index streams = use->streams();
  py::array_t<std::int32_t> ids({streams, count});
  py::object log_probs_or_none = py::none();
  float* log_prob_out = nullptr;
  if (log_probs) {
    py::array_t<float> array({streams, count});
    log_prob_out = array.mutable_data();
    log_probs_or_none = std::move(array);
  }
  std::int32_t* id_out = ids.mutable_data();
  {
    py::gil_scoped_release release;
    generate(model, *use, count, sampling, stops, id_out, log_prob_out);
  }
  return py::make_tuple(ids, log_probs_or_none);
}

py::tuple score(const PackedModel& model, py::handle ids, py::handle offsets, std::int32_t first_id) {
  const py::array bounds = checked_array<std::int64_t>(offsets, "offsets", {any_extent}, Access::read);
  const auto* data = static_cast<const std::int64_t*>(bounds.data());
  const std::vector<index> starts(data, data + bounds.size());
  const index count = checked_array<std::int32_t>(ids, "ids", {any_extent}, Access::read).shape(0);
  if (starts.empty() || starts.front() != 0 || starts.back() != count || !std::is_sorted(starts.begin(), starts.end()))
    throw py::value_error("offsets must ascend from 0 to the number of ids, " + std::to_string(count));
  if (first_id < 0 || first_id >= model.vocabulary_size())
    throw py::index_error("first_id is " + std::to_string(first_id) + "; ids must be from 0 to " +
                          std::to_string(model.vocabulary_size() - 1));
  const std::int32_t* tokens = read_ids(ids, "ids", {count}, model.classes());
  py::array_t<float> log_probs(count);
  py::array_t<std::int32_t> predictions(count);
  float* log_prob_out = log_probs.mutable_data();
  std::int32_t* prediction_out = predictions.mutable_data();
  {
    py::gil_scoped_release release;
    score_texts(model, starts, tokens, first_id, log_prob_out, prediction_out);
  }
  return py::make_tuple(log_probs, predictions);
}

py::tuple score_next(const PackedModel& model, PyDecodingState& state, py::handle ids) {
  const PyDecodingState::Use use(state);
  require_usable(model, *use);
  const index streams = use->streams();
  const index steps = checked_array<std::int32_t>(ids, "ids", {streams, any_extent}, Access::read).shape(1);
  const std::int32_t* tokens = read_ids(ids, "ids", {streams, steps}, model.classes());
  py::array_t<float> log_probs({streams, steps});
  py::array_t<std::int32_t> predictions({streams, steps});
  float* log_prob_out = log_probs.mutable_data();
  std::int32_t* prediction_out = predictions.mutable_data();
  {
    py::gil_scoped_release release;
    score_streams(model, *use, steps, tokens, log_prob_out, prediction_out);
  }
  return py::make_tuple(log_probs, predictions);
}

py::array_t<bool> finished(PyDecodingState& state) {
  const PyDecodingState::Use use(state);
  py::array_t<bool> result(use->streams());
  for (index s = 0; s < use->streams(); ++s) result.mutable_at(s) = use->finished(s);
  return result;
}

std::unique_ptr<PyDecodingState> copy(PyDecodingState& state) {
  const PyDecodingState::Use use(state);
  return std::make_unique<PyDecodingState>(DecodingState(*use));
}

}  // namespace

void bind_infer(py::module_& module) {
  using py::arg;
  py::class_<Sampling>(module, "Sampling")
      .def(py::init(&make_sampling), py::kw_only(), arg("temperature") = 1.0, arg("top_k") = 0, arg("top_p") = 1.0,
           arg("min_p") = 0.0, arg("repetition_penalty") = 1.0);
  py::class_<PyDecodingState>(module, "DecodingState")
      .def_property_readonly("streams", [](const PyDecodingState& state) { return state.peek().streams(); })
      .def_property_readonly("finished", &finished)
      .def("copy", &copy);
  py::class_<PackedModel>(module, "PackedModel")
      .def(py::init(&make_model), arg("embedding"), arg("cells"), arg("kernel"), arg("bias"), py::kw_only(),
           arg("transposed") = false)
      .def_property_readonly("vocabulary_size", &PackedModel::vocabulary_size)
      .def_property_readonly("nbytes", &PackedModel::nbytes)
      .def_property_readonly("read_bytes", &PackedModel::read_bytes)
      .def("begin", &begin, arg("prompts"), arg("seed"), arg("banned") = py::none())
      .def("generate", &generate, arg("state"), arg("count"), arg("sampling"), arg("stop_ids") = py::none(),
           arg("log_probs") = true)
      .def("score", &score, arg("ids"), arg("offsets"), arg("first_id"))
      .def("score_next", &score_next, arg("state"), arg("ids"));
}

}  // namespace recurlm::bindings
