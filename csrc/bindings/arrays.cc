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
constexpr const char* dtype_name<std::int8_t>() { return "int8"; }
template <>
constexpr const char* dtype_name<std::uint16_t>() { return "uint16"; }
template <>
constexpr const char* dtype_name<std::int32_t>() { return "int32"; }
template <>
constexpr const char* dtype_name<std::int64_t>() { return "int64"; }
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
  if (!(array.flags() & py::detail::npy_api::NPY_ARRAY_ALIGNED_)) throw py::type_error(argument + " must be aligned");
  if (access == Access::write && !array.writeable()) throw py::value_error(argument + " must be writeable");
  return array;
}

template py::array checked_array<float>(py::handle, const char*, const Shape&, Access);
template py::array checked_array<double>(py::handle, const char*, const Shape&, Access);
template py::array checked_array<std::int8_t>(py::handle, const char*, const Shape&, Access);
template py::array checked_array<std::uint16_t>(py::handle, const char*, const Shape&, Access);
template py::array checked_array<std::int64_t>(py::handle, const char*, const Shape&, Access);
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

py::array read_any_shape(py::handle object, const char* name) {
  const bool array = py::isinstance<py::array>(object);
  return checked_array<float>(object, name, array ? shape_of(py::reinterpret_borrow<py::array>(object)) : Shape{},
                              Access::read);
}

const std::int32_t* read_ids(py::handle object, const char* name, const Shape& shape, index limit,
                             const float* weights) {
  thread_local std::vector<std::int32_t> ids;
  const py::array array = checked_array<std::int32_t>(object, name, shape, Access::read);
  const auto* data = static_cast<const std::int32_t*>(array.data());
  ids.assign(data, data + array.size());
  for (std::size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] >= 0 && ids[i] < limit) continue;
    if (!weights || weights[i] != 0.0f)
      throw py::index_error(std::string(name) + "[" + position(shape_of(array), static_cast<index>(i)) + "] is " +
                            std::to_string(ids[i]) + "; ids must be from 0 to " + std::to_string(limit - 1));
    ids[i] = 0;
  }
  return ids.data();
}

void require(bool ok, const std::string& what, double value) {
  if (!ok) throw py::value_error(what + ", not " + py::str(py::float_(value)).cast<std::string>());
}

}  // namespace recurlm::bindings
