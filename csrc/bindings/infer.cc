#include <pybind11/stl.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <optional>
#include <string>

#include "bindings/arrays.h"
#include "bindings/bind.h"
#include "bindings/cell.h"
#include "bindings/exclusive.h"
#include "infer/beam_search.h"
#include "infer/decoder.h"
#include "infer/scoring.h"

namespace recurlm::bindings {

namespace {

struct PyDecodingState : Exclusive<DecodingState> {
  explicit PyDecodingState(DecodingState state) : Exclusive("this decoding state", std::move(state)) {}
};

Sampling make_sampling(double temperature, index top_k, double top_p, double min_p, double repetition_penalty,
                       double presence_penalty, double frequency_penalty) {
  require(temperature >= 0 && temperature < 1e6, "temperature must be at least 0", temperature);
  require(top_k >= 0, "top_k must be at least 0", static_cast<double>(top_k));
  require(top_p > 0 && top_p <= 1, "top_p must be above 0 and at most 1", top_p);
  require(min_p >= 0 && min_p <= 1, "min_p must be from 0 to 1", min_p);
  require(repetition_penalty >= 1e-6 && repetition_penalty <= 1e6, "repetition_penalty must be from 1e-6 to 1e6", repetition_penalty);
  require(std::abs(presence_penalty) < 1e6, "presence_penalty must be above -1e6 and below 1e6", presence_penalty);
  require(std::abs(frequency_penalty) < 1e6, "frequency_penalty must be above -1e6 and below 1e6", frequency_penalty);
  return {temperature, top_k, top_p, min_p, repetition_penalty, presence_penalty, frequency_penalty};
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

// What is added to logits, by id; -infinity bans.
TokenBiases read_biases(py::handle banned, py::handle logit_bias, index classes) {
  TokenBiases biases = banning(id_vector(banned, "banned", classes));
  if (!logit_bias.is_none()) {
    const auto parts = py::cast<py::tuple>(logit_bias);
    if (parts.size() != 2) throw py::value_error("logit_bias must be (ids, biases)");
    const auto ids = id_vector(parts[0], "logit_bias's ids", classes);
    const float* values = read<float>(parts[1], "logit_bias's biases", {static_cast<index>(ids.size())});
    for (std::size_t i = 0; i < ids.size(); ++i) {
      if (!std::isfinite(values[i])) throw py::value_error("logit_bias must be finite: banned is for what must not be drawn");
      biases.push_back({ids[i], values[i]});
    }
  }
  std::vector<bool> allowed(static_cast<std::size_t>(classes), true);
  for (const TokenBias& bias : biases)
    if (!std::isfinite(bias.bias)) allowed[static_cast<std::size_t>(bias.id)] = false;
  if (std::find(allowed.begin(), allowed.end(), true) == allowed.end())
    throw py::value_error("banned must leave at least one id to draw");
  return biases;
}

std::unique_ptr<PyDecodingState> begin(const PackedModel& model, const py::sequence& prompts, std::uint64_t seed,
                                       py::handle banned, py::handle logit_bias, PrefixCache* cache) {
  std::vector<std::vector<std::int32_t>> ids;
  for (std::size_t s = 0; s < prompts.size(); ++s) {
    const py::object prompt = prompts[s];
    ids.push_back(id_vector(prompt, "prompts[" + std::to_string(s) + "]", model.vocabulary_size()));
    if (ids.back().empty()) throw py::value_error("prompts[" + std::to_string(s) + "] must have at least one id");
  }
  TokenBiases biases = read_biases(banned, logit_bias, model.classes());
  if (cache && !cache->belongs_to(model)) throw py::value_error("cache holds states of another model");
  py::gil_scoped_release release;
  return std::make_unique<PyDecodingState>(recurlm::begin(model, ids, seed, std::move(biases), cache));
}

void require_usable(const PackedModel& model, const DecodingState& state) {
  if (!state.belongs_to(model)) throw py::value_error("state was begun by another model");
  if (state.failed) throw py::value_error("state cannot go on: the model's output was not finite; begin another");
}

std::vector<Sampling> read_sampling(py::handle sampling, index streams) {
  if (py::isinstance<Sampling>(sampling)) return {sampling.cast<Sampling>()};
  auto each = sampling.cast<std::vector<Sampling>>();
  if (static_cast<index>(each.size()) != streams)
    throw py::value_error("sampling must be one Sampling, or one for each of " + std::to_string(streams) + " streams, got " +
                          std::to_string(each.size()));
  return each;
}

// How many are wanted, 0 for None.
index checked_alternatives(const PackedModel& model, std::optional<index> wanted) {
  if (wanted && (*wanted < 0 || *wanted > model.classes()))
    throw py::value_error("alternatives must be from 0 to the size of the vocabulary, not " + std::to_string(*wanted));
  return wanted.value_or(0);
}

py::tuple generate(const PackedModel& model, PyDecodingState& state, index count, py::handle sampling, py::handle stop_ids,
                   bool log_probs, std::optional<index> wanted) {
  if (count < 0) throw py::value_error("count must be at least 0, not " + std::to_string(count));
  const index alternatives = checked_alternatives(model, wanted);
  const auto stops = id_vector(stop_ids, "stop_ids", model.classes());
  const PyDecodingState::Use use(state);
  require_usable(model, *use);
  const index streams = use->size();
  const std::vector<Sampling> each = read_sampling(sampling, streams);
  py::array_t<std::int32_t> ids({streams, count}), alternative_ids({streams, count, alternatives});
  py::array_t<float> log_prob_array({streams, log_probs ? count : 0}), alternative_log_probs({streams, count, alternatives});
  const Drawn drawn{ids.mutable_data(), log_probs ? log_prob_array.mutable_data() : nullptr, alternatives,
                    alternative_ids.mutable_data(), alternative_log_probs.mutable_data()};
  {
    py::gil_scoped_release release;
    generate(model, *use, count, each, stops, drawn);
  }
  py::object log_probs_or_none = log_probs ? py::object(log_prob_array) : py::none();
  if (!wanted) return py::make_tuple(ids, log_probs_or_none);
  return py::make_tuple(ids, log_probs_or_none, alternative_ids, alternative_log_probs);
}

py::list search_beams(const PackedModel& model, PyDecodingState& state, index width, index max_tokens, double length_penalty,
                      index best, py::handle stop_ids) {
  if (width < 1 || width > 1024) throw py::value_error("width must be from 1 to 1024, not " + std::to_string(width));
  if (best < 1 || best > width) throw py::value_error("best must be from 1 to width, not " + std::to_string(best));
  if (max_tokens < 0) throw py::value_error("max_tokens must be at least 0, not " + std::to_string(max_tokens));
  require(std::abs(length_penalty) <= 10, "length_penalty must be from -10 to 10", length_penalty);
  const auto stops = id_vector(stop_ids, "stop_ids", model.classes());
  const PyDecodingState::Use use(state);
  require_usable(model, *use);
  if (use->size() != 1) throw py::value_error("state must have one stream, not " + std::to_string(use->size()));
  if (use->at(0).finished) throw py::value_error("state has ended: there is nothing to go on with");
  std::vector<Hypothesis> found;
  {
    py::gil_scoped_release release;
    found = recurlm::search_beams(model, *use, {width, max_tokens, length_penalty, best}, stops);
  }
  py::list result;
  for (const Hypothesis& h : found)
    result.append(py::make_tuple(py::array_t<std::int32_t>(static_cast<index>(h.ids.size()), h.ids.data()),
                                 py::array_t<float>(static_cast<index>(h.log_probs.size()), h.log_probs.data()), h.score));
  return result;
}

// Arrays for the scores of tokens.
class ScoreArrays {
 public:
  ScoreArrays(const PackedModel& model, std::vector<index> shape, std::optional<index> wanted)
      : wanted_(wanted), alternatives_(checked_alternatives(model, wanted)) {
    log_probs_ = py::array_t<float>(shape);
    predictions_ = py::array_t<std::int32_t>(shape);
    shape.push_back(alternatives_);
    alternative_ids_ = py::array_t<std::int32_t>(shape);
    alternative_log_probs_ = py::array_t<float>(shape);
  }

  Scores scores() {
    return {log_probs_.mutable_data(), predictions_.mutable_data(), alternatives_, alternative_ids_.mutable_data(),
            alternative_log_probs_.mutable_data()};
  }
  py::tuple result() const {
    if (!wanted_) return py::make_tuple(log_probs_, predictions_);
    return py::make_tuple(log_probs_, predictions_, alternative_ids_, alternative_log_probs_);
  }

 private:
  const std::optional<index> wanted_;
  const index alternatives_;
  py::array_t<float> log_probs_, alternative_log_probs_;
  py::array_t<std::int32_t> predictions_, alternative_ids_;
};

py::tuple score(const PackedModel& model, py::handle ids, py::handle offsets, std::int32_t first_id,
                std::optional<index> alternatives) {
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
  ScoreArrays arrays(model, {count}, alternatives);
  const Scores scores = arrays.scores();
  {
    py::gil_scoped_release release;
    score_texts(model, starts, tokens, first_id, scores);
  }
  return arrays.result();
}

py::tuple score_next(const PackedModel& model, PyDecodingState& state, py::handle ids) {
  const PyDecodingState::Use use(state);
  require_usable(model, *use);
  const index streams = use->size();
  const index steps = checked_array<std::int32_t>(ids, "ids", {streams, any_extent}, Access::read).shape(1);
  const std::int32_t* tokens = read_ids(ids, "ids", {streams, steps}, model.classes());
  ScoreArrays arrays(model, {streams, steps}, std::nullopt);
  const Scores scores = arrays.scores();
  {
    py::gil_scoped_release release;
    score_streams(model, *use, steps, tokens, scores);
  }
  return arrays.result();
}

py::array_t<bool> finished(PyDecodingState& state) {
  const PyDecodingState::Use use(state);
  py::array_t<bool> result(use->size());
  for (index s = 0; s < use->size(); ++s) result.mutable_at(s) = use->at(s).finished;
  return result;
}

std::unique_ptr<PyDecodingState> select(PyDecodingState& state, py::handle rows) {
  const PyDecodingState::Use use(state);
  const index count = checked_array<std::int32_t>(rows, "rows", {any_extent}, Access::read).shape(0);
  const std::int32_t* places = read_ids(rows, "rows", {count}, use->size());
  return std::make_unique<PyDecodingState>(use->select({places, places + count}));
}

std::unique_ptr<PyDecodingState> join(const std::vector<PyDecodingState*>& states) {
  if (states.empty()) throw py::value_error("states must name at least one state");
  std::vector<std::unique_ptr<PyDecodingState::Use>> uses;
  std::vector<const DecodingState*> parts;
  for (PyDecodingState* state : states) {
    uses.push_back(std::make_unique<PyDecodingState::Use>(*state));  // a state that is there twice is in use
    parts.push_back(&**uses.back());
    if (parts.back()->model_id != parts.front()->model_id) throw py::value_error("states were begun by different models");
  }
  return std::make_unique<PyDecodingState>(DecodingState::join(parts));
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
           arg("min_p") = 0.0, arg("repetition_penalty") = 1.0, arg("presence_penalty") = 0.0,
           arg("frequency_penalty") = 0.0);
  py::class_<PrefixCache>(module, "PrefixCache")
      .def(py::init<std::size_t>(), arg("capacity"))
      .def_property_readonly("nbytes", &PrefixCache::nbytes)
      .def_property_readonly("tokens_found", &PrefixCache::tokens_found);
  py::class_<PyDecodingState>(module, "DecodingState")
      .def_property_readonly("streams", [](const PyDecodingState& state) { return state.peek().size(); })
      .def_property_readonly("finished", &finished)
      .def("copy", &copy)
      .def("select", &select, arg("rows"))
      .def_static("join", &join, arg("states"));
  py::class_<PackedModel>(module, "PackedModel")
      .def(py::init(&make_model), arg("embedding"), arg("cells"), arg("kernel"), arg("bias"), py::kw_only(),
           arg("transposed") = false)
      .def_property_readonly("vocabulary_size", &PackedModel::vocabulary_size)
      .def_property_readonly("nbytes", &PackedModel::nbytes)
      .def("packed_file", [](const PackedModel& model) { return py::bytes(write_safetensors(model.arrays())); })
      .def_property_readonly("read_bytes", &PackedModel::read_bytes)
      .def("begin", &begin, arg("prompts"), arg("seed"), arg("banned") = py::none(), arg("logit_bias") = py::none(),
           arg("cache") = py::none())
      .def("generate", &generate, arg("state"), arg("count"), arg("sampling"), arg("stop_ids") = py::none(),
           arg("log_probs") = true, arg("alternatives") = py::none())
      .def("search_beams", &search_beams, arg("state"), py::kw_only(), arg("width") = 4, arg("max_tokens") = 200,
           arg("length_penalty") = 0.0, arg("best") = 1, arg("stop_ids") = py::none())
      .def("score", &score, arg("ids"), arg("offsets"), arg("first_id"), arg("alternatives") = py::none())
      .def("score_next", &score_next, arg("state"), arg("ids"));
}

}  // namespace recurlm::bindings
