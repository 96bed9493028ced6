#include <algorithm>
#include <memory>
#include <string>

#include "bindings/arrays.h"
#include "bindings/bind.h"
#include "bindings/cell.h"
#include "bindings/exclusive.h"
#include "infer/decoder.h"

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

std::unique_ptr<Decoder> make_decoder(py::handle embedding, const py::sequence& cells, py::handle kernel,
                                      py::handle bias, bool transposed) {
  const ConstMatrixView table = read_matrix(embedding, "embedding");
  std::vector<DecoderLayer> layers;
  index width = table.cols;
  std::vector<py::tuple> items;  // held for as long as their memory is used
  for (std::size_t i = 0; i < cells.size(); ++i) {
    items.push_back(py::cast<py::tuple>(cells[i]));
    const py::tuple& parts = items.back();
    if (parts.size() != 4)
      throw py::value_error("each of cells must be (Cell, kernel, recurrent_kernel, bias)");
    const auto spec = parts[0].cast<CellSpec>();
    if (spec.input_dim != width)
      throw py::value_error("a cell has input_dim " + std::to_string(spec.input_dim) + ", but what it reads has " +
                            std::to_string(width) + " columns");
    layers.push_back({spec, read_cell_weights(spec, parts[1], parts[2], parts[3])});
    width = spec.units;
  }
  if (layers.empty()) throw py::value_error("cells must name at least one cell");
  const LinearWeights projection = read_linear(kernel, bias, transposed, width);
  if (projection.outputs() < 1 || projection.outputs() > table.rows)
    throw py::value_error("the projection must have from 1 to " + std::to_string(table.rows) +
                          " outputs, the rows of the embedding, not " + std::to_string(projection.outputs()));
  py::gil_scoped_release release;
  return std::make_unique<Decoder>(table, layers, projection);
}

std::vector<std::int32_t> id_vector(py::handle object, const std::string& name, index limit) {
  if (object.is_none()) return {};
  const index count = checked_array<std::int32_t>(object, name.c_str(), {any_extent}, Access::read).shape(0);
  const std::int32_t* ids = read_ids(object, name.c_str(), {count}, limit);
  return {ids, ids + count};
}

std::unique_ptr<PyDecodingState> begin(const Decoder& decoder, const py::sequence& prompts, std::uint64_t seed,
                                       py::handle banned) {
  std::vector<std::vector<std::int32_t>> ids;
  for (std::size_t s = 0; s < prompts.size(); ++s) {
    const py::object prompt = prompts[s];
    ids.push_back(id_vector(prompt, "prompts[" + std::to_string(s) + "]", decoder.vocabulary_size()));
    if (ids.back().empty()) throw py::value_error("prompts[" + std::to_string(s) + "] must have at least one id");
  }
  const auto banned_ids = id_vector(banned, "banned", decoder.classes());
  std::vector<bool> allowed(static_cast<std::size_t>(decoder.classes()), true);
  for (std::int32_t id : banned_ids) allowed[static_cast<std::size_t>(id)] = false;
  if (std::find(allowed.begin(), allowed.end(), true) == allowed.end())
    throw py::value_error("banned must leave at least one id to draw");
  py::gil_scoped_release release;
  return std::make_unique<PyDecodingState>(decoder.begin(ids, seed, banned_ids));
}

py::tuple generate(const Decoder& decoder, PyDecodingState& state, index count, const Sampling& sampling,
                   py::handle stop_ids) {
  if (count < 0) throw py::value_error("count must be at least 0, not " + std::to_string(count));
  const auto stops = id_vector(stop_ids, "stop_ids", decoder.classes());
  const PyDecodingState::Use use(state);
  if (!decoder.owns(*use)) throw py::value_error("state was begun by another decoder");
  const index streams = use->streams();
  py::array_t<std::int32_t> ids({streams, count});
  py::array_t<float> log_probs({streams, count});
  std::int32_t* id_out = ids.mutable_data();
  float* log_prob_out = log_probs.mutable_data();
  {
    py::gil_scoped_release release;
    decoder.generate(*use, count, sampling, stops, id_out, log_prob_out);
  }
  return py::make_tuple(ids, log_probs);
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
  py::class_<Decoder>(module, "Decoder")
      .def(py::init(&make_decoder), arg("embedding"), arg("cells"), arg("kernel"), arg("bias"), py::kw_only(),
           arg("transposed") = false)
      .def_property_readonly("vocabulary_size", &Decoder::vocabulary_size)
      .def_property_readonly("nbytes", &Decoder::nbytes)
      .def("begin", &begin, arg("prompts"), arg("seed"), arg("banned") = py::none())
      .def("generate", &generate, arg("state"), arg("count"), arg("sampling"), arg("stop_ids") = py::none());
}

}  // namespace recurlm::bindings
