#include <string>

#include "bindings/arrays.h"
#include "bindings/bind.h"
#include "bindings/workspace.h"
#include "ops/attention.h"
#include "ops/layer_norm.h"

namespace recurlm::bindings {

namespace {

struct AttentionArguments {
  py::handle query, key, value, probabilities, additive, query_mask, key_mask;
  index heads;
  double scale;
  bool causal;
  DropoutKey dropout;
};

const unsigned char* read_mask(py::handle mask, const char* name, const Shape& shape) {
  return reinterpret_cast<const unsigned char*>(read_optional<bool>(mask, name, shape));
}

index head_width(const char* name, index width, index heads) {
  if (width % heads != 0)
    throw py::value_error("the last extent of " + std::string(name) + " must be a multiple of heads, " +
                          std::to_string(heads) + ", not " + std::to_string(width));
  return width / heads;
}

Attention read_attention(const AttentionArguments& given) {
  require(given.heads >= 1, "heads must be at least 1", static_cast<double>(given.heads));
  require(given.dropout.rate >= 0 && given.dropout.rate < 1, "dropout must be from 0 to below 1", given.dropout.rate);
  const Shape q = shape_of(checked_array<float>(given.query, "query", {any_extent, any_extent, any_extent}, Access::read));
  const Shape k = shape_of(checked_array<float>(given.key, "key", {any_extent, q[1], q[2]}, Access::read));
  const Shape v = shape_of(checked_array<float>(given.value, "value", {k[0], q[1], any_extent}, Access::read));
  const index heads = given.heads, key_dim = head_width("query", q[2], heads);
  return {q[0],
          k[0],
          q[1],
          heads,
          key_dim,
          head_width("value", v[2], heads),
          read<float>(given.query, "query", q),
          read<float>(given.key, "key", k),
          read<float>(given.value, "value", v),
          read_optional<float>(given.additive, "additive", {key_dim}),
          static_cast<float>(given.scale),
          given.causal,
          read_mask(given.query_mask, "query_mask", {q[0], q[1]}),
          read_mask(given.key_mask, "key_mask", {k[0], q[1]}),
          given.dropout,
          write<float>(given.probabilities, "probabilities", {q[1], heads, q[0], k[0]})};
}

void py_attention_forward(py::handle query, py::handle key, py::handle value, py::handle output, py::handle probabilities,
                          PyWorkspace& workspace, index heads, double scale, bool causal, py::handle additive,
                          py::handle query_mask, py::handle key_mask, double dropout, std::uint64_t seed, std::uint64_t stream,
                          std::uint64_t step) {
  const Attention a = read_attention({query, key, value, probabilities, additive, query_mask, key_mask, heads, scale, causal,
                                      {dropout, seed, stream, step}});
  float* y = write<float>(output, "output", {a.queries, a.batch, a.heads * a.value_dim});
  const PyWorkspace::Use use(workspace);
  py::gil_scoped_release release;
  attention_forward(a, y, *use);
}

void py_attention_backward(py::handle query, py::handle key, py::handle value, py::handle probabilities, py::handle doutput,
                           py::handle dquery, py::handle dkey, py::handle dvalue, PyWorkspace& workspace, index heads,
                           double scale, bool causal, py::handle additive, py::handle dadditive, py::handle query_mask,
                           py::handle key_mask, double dropout, std::uint64_t seed, std::uint64_t stream, std::uint64_t step) {
  const Attention a = read_attention({query, key, value, probabilities, additive, query_mask, key_mask, heads, scale, causal,
                                      {dropout, seed, stream, step}});
  if (!a.additive && !dadditive.is_none()) throw py::value_error("dadditive must be None where additive is");
  const index keys = a.heads * a.key_dim, values = a.heads * a.value_dim;
  const AttentionGradients gradients{read<float>(doutput, "doutput", {a.queries, a.batch, values}),
                                     write<float>(dquery, "dquery", {a.queries, a.batch, keys}),
                                     write<float>(dkey, "dkey", {a.keys, a.batch, keys}),
                                     write<float>(dvalue, "dvalue", {a.keys, a.batch, values}),
                                     write_optional<float>(dadditive, "dadditive", {a.key_dim})};
  const PyWorkspace::Use use(workspace);
  py::gil_scoped_release release;
  attention_backward(a, gradients, *use);
}

void py_layer_norm_forward(py::handle x, py::handle gamma, py::handle beta, double epsilon, py::handle y,
                           py::handle statistics) {
  const ConstMatrixView input = read_matrix(x, "x");
  const LayerNormWeights weights{read_optional<float>(gamma, "gamma", {input.cols}),
                                 read_optional<float>(beta, "beta", {input.cols})};
  require(epsilon >= 0, "epsilon must not be negative", epsilon);
  float* output = write<float>(y, "y", {input.rows, input.cols});
  float* kept = write<float>(statistics, "statistics", {input.rows, 2});
  py::gil_scoped_release release;
  layer_norm_forward(input, weights, static_cast<float>(epsilon), output, kept);
}

void py_layer_norm_backward(py::handle x, py::handle gamma, py::handle statistics, py::handle dy, py::handle dx,
                            py::handle dgamma, py::handle dbeta, PyWorkspace& workspace, bool accumulate) {
  const ConstMatrixView input = read_matrix(x, "x");
  const Shape shape{input.rows, input.cols};
  const auto* scale = read_optional<float>(gamma, "gamma", {input.cols});
  const auto* kept = read<float>(statistics, "statistics", {input.rows, 2});
  const auto* output_gradient = read<float>(dy, "dy", shape);
  float* input_gradient = write<float>(dx, "dx", shape);
  const LayerNormGradients gradients{write_optional<float>(dgamma, "dgamma", {input.cols}),
                                     write_optional<float>(dbeta, "dbeta", {input.cols}), accumulate};
  const PyWorkspace::Use use(workspace);
  py::gil_scoped_release release;
  layer_norm_backward(input, scale, kept, output_gradient, input_gradient, gradients, *use);
}

}  // namespace

void bind_attention(py::module_& module) {
  using py::arg;
  module.def("attention_forward", &py_attention_forward, arg("query"), arg("key"), arg("value"), arg("output"),
             arg("probabilities"), arg("workspace"), py::kw_only(), arg("heads") = 1, arg("scale") = 1.0,
             arg("causal") = false, arg("additive") = py::none(), arg("query_mask") = py::none(),
             arg("key_mask") = py::none(), arg("dropout") = 0.0, arg("seed") = 0, arg("stream") = 0, arg("step") = 0);
  module.def("attention_backward", &py_attention_backward, arg("query"), arg("key"), arg("value"), arg("probabilities"),
             arg("doutput"), arg("dquery"), arg("dkey"), arg("dvalue"), arg("workspace"), py::kw_only(), arg("heads") = 1,
             arg("scale") = 1.0, arg("causal") = false, arg("additive") = py::none(), arg("dadditive") = py::none(),
             arg("query_mask") = py::none(), arg("key_mask") = py::none(), arg("dropout") = 0.0, arg("seed") = 0,
             arg("stream") = 0, arg("step") = 0);
  module.def("layer_norm_forward", &py_layer_norm_forward, arg("x"), arg("gamma"), arg("beta"), arg("epsilon"), arg("y"),
             arg("statistics"));
  module.def("layer_norm_backward", &py_layer_norm_backward, arg("x"), arg("gamma"), arg("statistics"), arg("dy"), arg("dx"),
             arg("dgamma"), arg("dbeta"), arg("workspace"), py::kw_only(), arg("accumulate") = false);
}

}  // namespace recurlm::bindings
