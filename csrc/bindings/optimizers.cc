#include "ops/optimizers.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "bindings/arrays.h"
#include "bindings/bind.h"
#include "ops/reductions.h"

namespace recurlm::bindings {

namespace {

UpdateRule make_rule(const std::string& kind, double momentum, bool nesterov, double rho, bool centered, double beta_1,
                     double beta_2, bool amsgrad, double epsilon, double clip_value) {
  require(momentum >= 0 && momentum <= 1, "momentum must be from 0 to 1", momentum);
  require(rho >= 0 && rho <= 1, "rho must be from 0 to 1", rho);
  require(beta_1 >= 0 && beta_1 < 1, "beta_1 must be from 0 to below 1", beta_1);
  require(beta_2 >= 0 && beta_2 < 1, "beta_2 must be from 0 to below 1", beta_2);
  require(epsilon > 0 && epsilon < 1e30, "epsilon must be above 0", epsilon);
  require(clip_value >= 0 && clip_value < 1e30, "clip_value must be at least 0 (0: off)", clip_value);
  UpdateRule rule{UpdateKind::sgd, momentum, rho, beta_1, beta_2, epsilon, clip_value, nesterov, centered, amsgrad};
  if (kind == "rmsprop")
    rule.kind = UpdateKind::rmsprop;
  else if (kind == "adagrad")
    rule.kind = UpdateKind::adagrad;
  else if (kind == "adam")
    rule.kind = UpdateKind::adam;
  else if (kind == "lion")
    rule.kind = UpdateKind::lion;
  else if (kind != "sgd")
    throw py::value_error("kind must be sgd, rmsprop, adagrad, adam or lion, not '" + kind + "'");
  return rule;
}

std::string entry(const char* name, std::size_t i) { return std::string(name) + "[" + std::to_string(i) + "]"; }

// The items of a sequence, which may make them as it is asked: held for as long as their memory is used.
std::vector<py::object> items_of(const py::sequence& sequence) {
  std::vector<py::object> items;
  for (std::size_t i = 0; i < sequence.size(); ++i) items.emplace_back(sequence[i]);
  return items;
}

void require_length(std::size_t actual, std::size_t expected, const char* name) {
  if (actual != expected)
    throw py::value_error(std::string(name) + " must have " + std::to_string(expected) + " entries, not " +
                          std::to_string(actual));
}

// The rows of an array that matter, distinct ids, or None for all of it.
Elements read_elements(const py::array& array, py::handle rows, const std::string& name, std::vector<std::int32_t>& ids) {
  if (rows.is_none()) return {array.size()};
  if (array.ndim() < 1) throw py::value_error(name + " must be None where the array has no rows");
  const index count = checked_array<std::int32_t>(rows, name.c_str(), {any_extent}, Access::read).shape(0);
  const std::int32_t* read = read_ids(rows, name.c_str(), {count}, array.shape(0));
  ids.assign(read, read + count);
  std::vector<std::int32_t> sorted = ids;
  std::sort(sorted.begin(), sorted.end());
  if (std::adjacent_find(sorted.begin(), sorted.end()) != sorted.end())
    throw py::value_error(name + " must not name a row twice");
  const index width = array.shape(0) ? array.size() / array.shape(0) : 0;
  return {count * width, ids.data(), width};
}

// One for each of `count` arrays, and the ids behind them.
struct RowLists {
  RowLists(py::handle rows, std::size_t count) : ids(count) {
    if (rows.is_none()) return;
    items = items_of(py::cast<py::sequence>(rows));
    require_length(items.size(), count, "rows");
  }
  Elements elements(std::size_t i, const py::array& array) {
    return read_elements(array, items.empty() ? py::none() : items[i], entry("rows", i), ids[i]);
  }

  std::vector<py::object> items;
  std::vector<std::vector<std::int32_t>> ids;
};

py::array_t<double> py_squared_norms(const py::sequence& gradients, py::handle rows) {
  const std::vector<py::object> items = items_of(gradients);
  RowLists lists(rows, items.size());
  std::vector<const float*> data;
  std::vector<Elements> elements;
  for (std::size_t i = 0; i < items.size(); ++i) {
    const py::array array = read_any_shape(items[i], entry("gradients", i).c_str());
    data.push_back(static_cast<const float*>(array.data()));
    elements.push_back(lists.elements(i, array));
  }
  py::array_t<double> norms(static_cast<py::ssize_t>(data.size()));
  double* out = norms.mutable_data();
  py::gil_scoped_release release;
  squared_norms(data, elements, out);
  return norms;
}

ParameterSpan read_span(const UpdateRule& rule, std::size_t i, const py::object& parameter, const py::object& gradient,
                        const std::vector<py::object>& slots, RowLists& lists) {
  const py::array values = read_any_shape(parameter, entry("parameters", i).c_str());
  const Shape shape = shape_of(values);
  ParameterSpan span{};
  span.elements = lists.elements(i, values);
  span.parameter = write<float>(parameter, entry("parameters", i).c_str(), shape);
  span.gradient = read<float>(gradient, entry("gradients", i).c_str(), shape);
  require_length(slots.size(), static_cast<std::size_t>(rule.slots()), entry("slots", i).c_str());
  for (std::size_t s = 0; s < slots.size(); ++s)
    span.slots[s] = write<float>(slots[s], (entry("slots", i) + "[" + std::to_string(s) + "]").c_str(), shape);
  return span;
}

// Threads share blocks of arrays, so an array that came twice would be written by two of them.
void require_distinct(std::vector<const float*> starts, const char* name) {
  std::sort(starts.begin(), starts.end());
  if (std::adjacent_find(starts.begin(), starts.end()) != starts.end())
    throw py::value_error(std::string(name) + " must not name an array twice");
}

void py_apply_update(const UpdateRule& rule, std::int64_t step, double learning_rate, const py::sequence& parameters,
                     const py::sequence& gradients, const py::sequence& slots, py::handle scales,
                     py::handle weight_decays, py::handle rows) {
  const std::vector<py::object> parameter_items = items_of(parameters), gradient_items = items_of(gradients);
  const std::size_t count = parameter_items.size();
  require_length(gradient_items.size(), count, "gradients");
  require_length(slots.size(), count, "slots");
  const auto* scale = read<double>(scales, "scales", {static_cast<index>(count)});
  const auto* decay = read<double>(weight_decays, "weight_decays", {static_cast<index>(count)});
  if (step < 1) throw py::value_error("step counts from 1, not " + std::to_string(step));
  RowLists lists(rows, count);
  std::vector<std::vector<py::object>> slot_items;
  std::vector<ParameterSpan> spans;
  std::vector<const float*> written;
  for (std::size_t i = 0; i < count; ++i) {
    slot_items.push_back(items_of(py::sequence(slots[i])));
    spans.push_back(read_span(rule, i, parameter_items[i], gradient_items[i], slot_items.back(), lists));
    spans.back().gradient_scale = scale[i];
    spans.back().weight_decay = decay[i];
    if (spans.back().elements.count > 0) written.push_back(spans.back().parameter);
  }
  require_distinct(std::move(written), "parameters");
  py::gil_scoped_release release;
  apply_update(rule, step, learning_rate, spans);
}

void py_update_means(const py::sequence& values, const py::sequence& means, double weight) {
  const std::vector<py::object> value_items = items_of(values), mean_items = items_of(means);
  require_length(mean_items.size(), value_items.size(), "means");
  require(weight >= 0 && weight <= 1, "weight must be from 0 to 1", weight);
  std::vector<MeanSpan> spans;
  std::vector<const float*> written;
  for (std::size_t i = 0; i < value_items.size(); ++i) {
    const py::array value = read_any_shape(value_items[i], entry("values", i).c_str());
    float* mean = write<float>(mean_items[i], entry("means", i).c_str(), shape_of(value));
    spans.push_back({value.size(), static_cast<const float*>(value.data()), mean});
    if (value.size() > 0) written.push_back(mean);
  }
  require_distinct(std::move(written), "means");
  py::gil_scoped_release release;
  update_means(spans, weight);
}

}  // namespace

void bind_optimizers(py::module_& module) {
  using py::arg;
  py::class_<UpdateRule>(module, "UpdateRule")
      .def(py::init(&make_rule), arg("kind"), py::kw_only(), arg("momentum") = 0.0, arg("nesterov") = false,
           arg("rho") = 0.9, arg("centered") = false, arg("beta_1") = 0.9, arg("beta_2") = 0.999,
           arg("amsgrad") = false, arg("epsilon") = 1e-7, arg("clip_value") = 0.0)
      .def_property_readonly("slots", &UpdateRule::slots);
  module.def("squared_norms", &py_squared_norms, arg("gradients"), arg("rows") = py::none());
  module.def("apply_update", &py_apply_update, arg("rule"), arg("step"), arg("learning_rate"), arg("parameters"),
             arg("gradients"), arg("slots"), arg("scales"), arg("weight_decays"), arg("rows") = py::none());
  module.def("update_means", &py_update_means, arg("values"), arg("means"), arg("weight"));
}

}  // namespace recurlm::bindings
