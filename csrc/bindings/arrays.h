// Checks of what comes from Python. Each throws the exception a user expects, with a sentence that names the argument.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <cstdint>
#include <string>
#include <vector>

#include "base/views.h"

namespace recurlm::bindings {

namespace py = pybind11;

// An expected shape: numbers, or any_extent.
using Shape = std::vector<index>;
constexpr index any_extent = -1;

enum class Access { read, write };

// The array behind `object`, of element type T, C-contiguous, of this shape and (for Access::write) writeable.
template <typename T>
py::array checked_array(py::handle object, const char* name, const Shape& shape, Access access);

template <typename T>
T* write(py::handle object, const char* name, const Shape& shape) {
  return static_cast<T*>(checked_array<T>(object, name, shape, Access::write).mutable_data());
}
template <typename T>
const T* read(py::handle object, const char* name, const Shape& shape) {
  return static_cast<const T*>(checked_array<T>(object, name, shape, Access::read).data());
}
// None gives null.
template <typename T>
T* write_optional(py::handle object, const char* name, const Shape& shape) {
  return object.is_none() ? nullptr : write<T>(object, name, shape);
}
template <typename T>
const T* read_optional(py::handle object, const char* name, const Shape& shape) {
  return object.is_none() ? nullptr : read<T>(object, name, shape);
}

ConstMatrixView read_matrix(py::handle object, const char* name, index rows = any_extent, index cols = any_extent);
MatrixView write_matrix(py::handle object, const char* name, index rows, index cols);
MatrixView write_optional_matrix(py::handle object, const char* name, index rows, index cols);

Shape shape_of(const py::array& array);

// A float32 array of whatever shape.
py::array read_any_shape(py::handle object, const char* name);

// Ids of this shape, copied and then checked, so that another thread that writes to the array meanwhile cannot undo the check.
// Throws IndexError with the position of the first one outside [0, limit). Where weights are given, an id of weight 0 may be
// anything and becomes 0. The copy lasts until this thread's next call.
const std::int32_t* read_ids(py::handle object, const char* name, const Shape& shape, index limit,
                             const float* weights = nullptr);

// Throws ValueError("<what>, not <value>") unless ok.
void require(bool ok, const std::string& what, double value);

}  // namespace recurlm::bindings
