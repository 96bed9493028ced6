#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <string>

#include "bindings/arrays.h"
#include "bindings/bind.h"
#include "files/format_error.h"
#include "text/tokenizer.h"

namespace py = pybind11;

namespace recurlm::bindings {

namespace {

std::unique_ptr<Tokenizer> open_tokenizer(const py::bytes& json) {
  try {
    return read_tokenizer(std::string_view(json));
  } catch (const FormatError& error) {
    throw py::value_error(error.what());
  }
}

py::array_t<std::int32_t> encode(const Tokenizer& tokenizer, const py::bytes& text) {
  TokenIds ids;
  try {
    const std::string_view bytes(text);
    py::gil_scoped_release release;
    ids = tokenizer.encode(bytes);
  } catch (const TextError& error) {
    throw py::value_error(error.what());
  }
  return py::array_t<std::int32_t>(static_cast<py::ssize_t>(ids.size()), ids.data());
}

py::list decode(const Tokenizer& tokenizer, py::handle ids, const py::bytes& prefix) {
  const index count = checked_array<std::int32_t>(ids, "ids", {any_extent}, Access::read).shape(0);
  const std::int32_t* tokens = read_ids(ids, "ids", {count}, tokenizer.size());
  const auto decoder = tokenizer.decoder(std::string_view(prefix));
  py::list pieces;
  for (index i = 0; i < count; ++i) pieces.append(py::bytes(decoder->feed(tokens[i])));
  pieces.append(py::bytes(decoder->finish()));
  return pieces;
}

}  // namespace

void bind_text(py::module_& module) {
  using py::arg;
  py::class_<Tokenizer>(module, "TextTokenizer")
      .def(py::init(&open_tokenizer), arg("json"))
      .def_property_readonly("size", &Tokenizer::size)
      .def_property_readonly("bos_id", &Tokenizer::bos_id)
      .def_property_readonly("end_id", &Tokenizer::end_id)
      .def("encode", &encode, arg("text"))
      .def("decode", &decode, arg("ids"), arg("prefix") = py::bytes());
}

}  // namespace recurlm::bindings
