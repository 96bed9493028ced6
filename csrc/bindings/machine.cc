#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <string>

#include "bindings/arrays.h"
#include "bindings/bind.h"
#include "bindings/workspace.h"
#include "cpu/isa.h"
#include "cpu/threads.h"
#include "ops/peak.h"

namespace py = pybind11;

namespace recurlm::bindings {

namespace {

void check_measurement(double seconds, int threads) {
  require(seconds > 0 && seconds <= 3600, "seconds must be above 0 and at most 3600", seconds);
  require(threads >= 1 && threads <= max_threads(), "threads must be from 1 to " + std::to_string(max_threads()), threads);
}

}  // namespace

void bind_machine(py::module_& module) {
  module.def("supported_isas", [] {
    std::vector<std::string> names;
    for (Isa isa : supported_isas()) names.emplace_back(isa_name(isa));
    return names;
  });
  module.def("get_isa", [] { return isa_name(active_isa()); });
  module.def("set_isa", &set_isa, py::arg("name"));
  module.def("has_openmp", &has_openmp);
  module.def("multiplies_bfloat16", &multiplies_bfloat16);
  module.def("available_cores", &available_cores);
  module.def("get_num_threads", &get_num_threads);
  module.def("set_num_threads", &set_num_threads, py::arg("threads"));
  module.def("measure_peak", [](double seconds, int threads) {
    check_measurement(seconds, threads);
    py::gil_scoped_release release;
    return measure_peak(seconds, threads);
  }, py::arg("seconds"), py::arg("threads"));
  module.def("measure_bandwidth", [](double megabytes, double seconds, int threads) {
    check_measurement(seconds, threads);
    require(megabytes >= 0.01 && megabytes <= 1e5, "megabytes must be from 0.01 to 100000", megabytes);
    py::gil_scoped_release release;
    return measure_bandwidth(megabytes * 1e6, seconds, threads);
  }, py::arg("megabytes"), py::arg("seconds"), py::arg("threads"));
  py::class_<PyWorkspace>(module, "Workspace")
      .def(py::init<>())
      .def_property_readonly("nbytes", [](const PyWorkspace& workspace) { return workspace.peek().nbytes(); })
      .def_property_readonly("growths", [](const PyWorkspace& workspace) { return workspace.peek().growths(); });
  // An environment variable that names what this machine lacks stops the import, not some later call.
  active_isa();
  get_num_threads();
}

}  // namespace recurlm::bindings
