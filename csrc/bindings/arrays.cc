#include "bindings/arrays.h"

#include <string>

namespace recurlm::bindings {

namespace {

template <typename T>
constexpr const char* dtype_name();
template <>
constexpr const char* dtype_name<float>() { return "float32"; }
template <>
constexpr const char* dtype_name<double>() { return "float64"; }
template <>
constexpr const char* dtype_name<std::int32_t>() { return "int32"; }
template <>
constexpr const char* dtype_name<bool>() { return "bool"; }

std::string text(const Shape& shape) {
  std::string result = "(";
  for (std::size_t i = 0; i < shape.size(); ++i) {
    if (i) result += ", ";
    result += shape[i] == any_extent ? "*" : std::to_string(shape[i]);
  }
  return result + (shape.size() == 1 ? ",)" : ")");
}

bool matches(const Shape& actual, const Shape& expected) {
  if (actual.size() != expected.size()) return false;
  for (std::size_t i = 0; i < actual.size(); ++i)
    if (expected[i] != any_extent && expected[i] != actual[i]) return false;
  return true;
}

std::string position(const Shape& shape, index flat) {
  std::vector<index> at(shape.size());
  for (std::size_t i = shape.size(); i-- > 0; flat /= shape[i]) at[i] = flat % shape[i];
  std::string result;
  for (index i : at) result += (result.empty() ? "" : ", ") + std::to_string(i);
  return result;
}

}  // namespace

Shape shape_of(const py::array& array) { return {array.shape(), array.shape() + array.ndim()}; }

template <typename T>
py::array checked_array(py::handle object, const char* name, const Shape& shape, Access access) {
  const std::string argument = name;
  if (!py::isinstance<py::array>(object))
    throw py::type_error(argument + " must be a NumPy array of " + dtype_name<T>() + ", not " +
                         py::str(py::type::of(object).attr("__name__")).cast<std::string>());
  auto array = py::reinterpret_borrow<py::array>(object);
  if (!array.dtype().is(py::dtype::of<T>()) && !array.dtype().equal(py::dtype::of<T>()))
    throw py::type_error(argument + " must have dtype " + dtype_name<T>() + ", not " +
                         py::str(array.dtype()).cast<std::string>());
  if (!matches(shape_of(array), shape))
    throw py::value_error(argument + " must have shape " + text(shape) + ", not " + text(shape_of(array)));
  if (!(array.flags() & py::array::c_style)) throw py::type_error(argument + " must be C-contiguous");
  if (access == Access::write && !array.writeable()) throw py::value_error(argument + " must be writeable");
  return array;
}

template py::array checked_array<float>(py::handle, const char*, const Shape&, Access);
template py::array checked_array<double>(py::handle, const char*, const Shape&, Access);
template py::array checked_array<std::int32_t>(py::handle, const char*, const Shape&, Access);
template py::array checked_array<bool>(py::handle, const char*, const Shape&, Access);

ConstMatrixView read_matrix(py::handle object, const char* name, index rows, index cols) {
  const py::array array = checked_array<float>(object, name, {rows, cols}, Access::read);
  return {static_cast<const float*>(array.data()), array.shape(0), array.shape(1)};
}

MatrixView write_matrix(py::handle object, const char* name, index rows, index cols) {
  return {write<float>(object, name, {rows, cols}), rows, cols};
}

MatrixView write_optional_matrix(py::handle object, const char* name, index rows, index cols) {
  return object.is_none() ? MatrixView{} : write_matrix(object, name, rows, cols);
}

void check_ids(const std::int32_t* ids, const Shape& shape, index limit, const char* name, const float* weights) {
  index count = 1;
  for (index extent : shape) count *= extent;
  for (index i = 0; i < count; ++i)
    if ((ids[i] < 0 || ids[i] >= limit) && !(weights && weights[i] == 0.0f))
      throw py::index_error(std::string(name) + "[" + position(shape, i) + "] is " + std::to_string(ids[i]) +
                            "; ids must be from 0 to " + std::to_string(limit - 1));
}

}  // namespace recurlm::bindings
