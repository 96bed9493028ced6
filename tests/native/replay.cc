// Replays reference cases on every instruction set of this machine with 1, 2 and 7 threads: for the sanitizers and for
// emulators, where there is no Python. Every array is a vector of exactly its size, so that a step too far is seen.
#include <algorithm>
#include <cstdio>
#include <exception>
#include <stdexcept>

#include "cases.h"
#include "cpu/isa.h"
#include "cpu/threads.h"
#include "ops/attention.h"
#include "ops/layer_norm.h"
#include "ops/linear.h"
#include "ops/losses.h"
#include "ops/optimizers.h"
#include "ops/projection_cross_entropy.h"
#include "ops/recurrent.h"

namespace recurlm::native {

namespace {

MatrixView shaped(std::vector<float>& data, ConstMatrixView like) { return {data.data(), like.rows, like.cols}; }

Precision precision(const Case& c) { return c.option("precision") != 0 ? Precision::bfloat16 : Precision::float32; }

LinearWeights linear_weights(const Case& c) {
  return {c.matrix("kernel"), c.optional("bias"), c.option("transposed") != 0, precision(c)};
}

void replay_linear(const Case& c) {
  Workspace workspace;
  const ConstMatrixView x = c.matrix("x"), dy = c.matrix("dy");
  const LinearWeights weights = linear_weights(c);
  auto y = c.unwritten("y"), dx = c.unwritten("dx"), dkernel = c.unwritten("dkernel"), dbias = c.unwritten("dbias");
  linear_forward(x, weights, shaped(y, dy), workspace);
  linear_backward(x, weights, dy, shaped(dx, x), {shaped(dkernel, weights.kernel), dbias.data(), false}, workspace);
  c.check("y", y);
  c.check("dx", dx);
  c.check("dkernel", dkernel);
  c.check("dbias", dbias);
}

// States (T + 1, B, H) with the initial one in its place.
std::vector<float> states(const Case& c, const std::string& name, bool reverse) {
  auto all = c.unwritten(name);
  const auto initial = c.floats("initial " + name);
  std::copy(initial.begin(), initial.end(), reverse ? all.end() - static_cast<index>(initial.size()) : all.begin());
  return all;
}

CellSpec cell_spec(const Case& c) {
  const ConstMatrixView kernel = c.matrix("kernel"), recurrent_kernel = c.matrix("recurrent_kernel");
  return {static_cast<CellKind>(c.option("kind")), kernel.rows, recurrent_kernel.rows,
          static_cast<kernels::Activation>(c.option("activation")), c.option("reset_after") != 0, precision(c)};
}

std::vector<unsigned char> mask_bytes(const Case& c, const std::string& name = "mask") {
  if (!c.has(name)) return {};
  const auto& ints = c.array(name).ints;
  return {ints.begin(), ints.end()};
}

void replay_recurrent(const Case& c) {
  Workspace workspace;
  const CellSpec spec = cell_spec(c);
  const CellWeights weights{c.matrix("kernel"), c.matrix("recurrent_kernel"), c.optional("bias")};
  const index steps = c.array("dy").shape.at(0), batch = c.array("dy").shape.at(1);
  const bool reverse = c.option("reverse") != 0, lstm = spec.kind == CellKind::lstm;
  const auto mask = mask_bytes(c);
  auto h = states(c, "h", reverse), cell = lstm ? states(c, "c", reverse) : std::vector<float>{};
  std::vector<float> saved(static_cast<std::size_t>(spec.saved_size(steps, batch)));
  const std::int32_t* rows = c.has("rows") ? c.array("rows").ints.data() : nullptr;
  const ConstMatrixView x{c.array("x").floats.data(), rows ? c.array("x").shape.at(0) : steps * batch, spec.input_dim};
  const float* state_factors = c.optional("state_factors");
  std::vector<float> dropped_h(state_factors ? static_cast<std::size_t>(steps * batch * spec.units) : 0);
  const Sequence sequence{steps,        batch,
                          x,            rows,
                          c.has("mask") ? mask.data() : nullptr,
                          reverse,      h.data(),
                          lstm ? cell.data() : nullptr,
                          saved.data(), state_factors,
                          state_factors ? dropped_h.data() : nullptr};
  recurrent_forward(spec, weights, sequence, workspace);
  c.check("h", h);
  if (lstm) c.check("c", cell);

  auto dh = c.floats("dh"), dc = lstm ? c.floats("dc") : std::vector<float>{}, dx = c.unwritten("dx");
  auto dkernel = c.unwritten("dkernel"), drecurrent = c.unwritten("drecurrent_kernel"), dbias = c.unwritten("dbias");
  const SequenceGradients gradients{c.optional("dy"), dh.data(), lstm ? dc.data() : nullptr, dx.data()};
  const CellGradients parameters{shaped(dkernel, weights.kernel), shaped(drecurrent, weights.recurrent_kernel),
                                 dbias.data(), false};
  recurrent_backward(spec, weights, sequence, gradients, parameters, workspace);
  c.check("dh", dh);
  if (lstm) c.check("dc", dc);
  c.check("dx", dx);
  c.check("dkernel", dkernel);
  c.check("drecurrent_kernel", drecurrent);
  c.check("dbias", dbias);
}

void replay_attention(const Case& c) {
  Workspace workspace;
  const auto& query = c.array("query").shape;
  const auto& value = c.array("value").shape;
  const index heads = c.option("heads");
  const auto query_mask = mask_bytes(c, "query_mask"), key_mask = mask_bytes(c, "key_mask");
  auto probabilities = c.unwritten("probabilities"), output = c.unwritten("output");
  const Attention a{query.at(0), value.at(0), query.at(1), heads, query.at(2) / heads, value.at(2) / heads,
                    c.optional("query"), c.optional("key"), c.optional("value"), c.optional("additive"), c.number("scale"),
                    c.option("causal") != 0, c.has("query_mask") ? query_mask.data() : nullptr,
                    c.has("key_mask") ? key_mask.data() : nullptr, DropoutKey{}, probabilities.data()};
  attention_forward(a, output.data(), workspace);
  c.check("probabilities", probabilities);
  c.check("output", output);
  auto dquery = c.unwritten("dquery"), dkey = c.unwritten("dkey"), dvalue = c.unwritten("dvalue");
  auto dadditive = a.additive ? c.unwritten("dadditive") : std::vector<float>{};
  attention_backward(a, {c.optional("doutput"), dquery.data(), dkey.data(), dvalue.data(), a.additive ? dadditive.data() : nullptr},
                     workspace);
  c.check("dquery", dquery);
  c.check("dkey", dkey);
  c.check("dvalue", dvalue);
  if (a.additive) c.check("dadditive", dadditive);
}

void replay_layer_norm(const Case& c) {
  Workspace workspace;
  const ConstMatrixView x = c.matrix("x");
  auto y = c.unwritten("y"), dx = c.unwritten("dx"), dgamma = c.unwritten("dgamma"), dbeta = c.unwritten("dbeta");
  std::vector<float> statistics(static_cast<std::size_t>(2 * x.rows));
  layer_norm_forward(x, {c.optional("gamma"), c.optional("beta")}, c.number("epsilon"), y.data(), statistics.data());
  layer_norm_backward(x, c.optional("gamma"), statistics.data(), c.optional("dy"), dx.data(), {dgamma.data(), dbeta.data(), false},
                      workspace);
  c.check("y", y);
  c.check("dx", dx);
  c.check("dgamma", dgamma);
  c.check("dbeta", dbeta);
}

void replay_projection_cross_entropy(const Case& c) {
  Workspace workspace;
  const ConstMatrixView x = c.matrix("x");
  const LinearWeights projection = linear_weights(c);
  auto log_probs = c.unwritten("log_probs"), dx = c.unwritten("dx");
  auto dkernel = c.unwritten("dkernel"), dbias = c.unwritten("dbias");
  std::vector<std::int32_t> ranks(log_probs.size()), predictions(log_probs.size());
  const double loss = projection_cross_entropy(
      x, projection, c.array("targets").ints.data(), c.optional("weights"), c.number("smoothing"),
      {log_probs.data(), ranks.data(), predictions.data()}, shaped(dx, x),
      {shaped(dkernel, projection.kernel), dbias.data(), false}, workspace);
  c.check("loss", {static_cast<float>(loss)});
  c.check("log_probs", log_probs);
  c.check("dx", dx);
  c.check("dkernel", dkernel);
  c.check("dbias", dbias);
}

void replay_loss(const Case& c) {
  const ConstMatrixView y_true = c.matrix("y_true"), y_pred = c.matrix("y_pred");
  auto loss = c.unwritten("loss"), dy = c.unwritten("dy");
  const float* weights = c.optional("weights");
  constexpr int on_logits = 4;  // behind the four kinds on probabilities
  if (c.option("kind") == on_logits) {
    softmax_cross_entropy(y_pred, y_true, weights, loss.data(), shaped(dy, y_pred));
  } else {
    const auto kind = static_cast<LossKind>(c.option("kind"));
    loss_forward(kind, y_true, y_pred, loss.data());
    loss_backward(kind, y_true, y_pred, weights, shaped(dy, y_pred));
  }
  c.check("loss", loss);
  c.check("dy", dy);
}

void replay_optimizer(const Case& c) {
  UpdateRule rule;
  rule.kind = static_cast<UpdateKind>(c.option("kind"));
  rule.momentum = c.number("momentum"), rule.rho = c.number("rho");
  rule.beta_1 = c.number("beta_1"), rule.beta_2 = c.number("beta_2");
  rule.epsilon = c.number("epsilon"), rule.clip_value = c.number("clip_value");
  rule.nesterov = c.option("nesterov") != 0, rule.centered = c.option("centered") != 0;
  rule.amsgrad = c.option("amsgrad") != 0;
  auto parameter = c.floats("parameter");
  const auto gradient = c.floats("gradient");
  std::vector<std::vector<float>> slots(static_cast<std::size_t>(rule.slots()), std::vector<float>(parameter.size()));
  ParameterSpan span{{static_cast<index>(parameter.size())}, parameter.data(), gradient.data(), {},
                     c.number("scale"), c.number("weight_decay")};
  for (std::size_t s = 0; s < slots.size(); ++s) span.slots[s] = slots[s].data();
  apply_update(rule, 1, c.number("learning_rate"), {span});
  c.check("parameter", parameter);
  for (std::size_t s = 0; s < slots.size(); ++s) c.check("slot " + std::to_string(s), slots[s]);
}

void replay_mean(const Case& c) {
  auto mean = c.floats("mean");
  const auto value = c.floats("value");
  update_means({{static_cast<index>(mean.size()), value.data(), mean.data()}}, c.number("weight"));
  c.check("mean", mean);
}

void replay(const Case& c) {
  if (c.family == "linear") return replay_linear(c);
  if (c.family == "attention") return replay_attention(c);
  if (c.family == "layer_norm") return replay_layer_norm(c);
  if (c.family == "recurrent") return replay_recurrent(c);
  if (c.family == "projection_cross_entropy") return replay_projection_cross_entropy(c);
  if (c.family == "loss") return replay_loss(c);
  if (c.family == "optimizer") return replay_optimizer(c);
  if (c.family == "mean") return replay_mean(c);
  throw std::runtime_error("no such family of cases");
}

int replay_all(const std::vector<Case>& cases) {
  int failures = 0;
  for (const Isa isa : supported_isas())
    for (const int threads : {1, 2, 7}) {
      set_isa(isa_name(isa));
      set_num_threads(threads);
      for (const Case& c : cases) try {
          replay(c);
        } catch (const std::exception& error) {
          std::printf("%s, %d threads, %s/%s: %s\n", isa_name(isa), threads, c.family.c_str(), c.name.c_str(), error.what());
          ++failures;
        }
      std::printf("%s, %d threads: %zu cases replayed\n", isa_name(isa), threads, cases.size());
    }
  return failures;
}

}  // namespace

}  // namespace recurlm::native

int main(int argc, char** argv) try {
  if (argc != 2) throw std::runtime_error("usage: recurlm_native_test FILE (made by tests.native.write_cases)");
  const auto cases = recurlm::native::read_cases(argv[1]);
  if (cases.empty()) throw std::runtime_error("there are no cases in the file");
  return recurlm::native::replay_all(cases) == 0 ? 0 : 1;
} catch (const std::exception& error) {
  std::fprintf(stderr, "%s\n", error.what());
  return 2;
}
