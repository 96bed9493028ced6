#include "ops/optimizers.h"

#include <cmath>
#include <utility>

#include "kernels/table.h"

namespace recurlm {

int UpdateRule::slots() const {
  switch (kind) {
    case UpdateKind::sgd: return momentum != 0 ? 1 : 0;
    case UpdateKind::rmsprop: return 1 + (momentum != 0) + centered;
    case UpdateKind::adagrad: return 1;
    case UpdateKind::adam: return 2 + amsgrad;
    case UpdateKind::lion: return 1;
  }
  return 0;
}

namespace {

using UpdateKernel = void (*)(const kernels::Update&);

UpdateKernel update_kernel(UpdateKind kind) {
  const auto& k = kernels::table();
  switch (kind) {
    case UpdateKind::rmsprop: return k.rmsprop;
    case UpdateKind::adagrad: return k.adagrad;
    case UpdateKind::adam: return k.adam;
    case UpdateKind::lion: return k.lion;
    default: return k.sgd;
  }
}

kernels::Update common(const UpdateRule& rule, std::int64_t step, double learning_rate) {
  kernels::Update u{};
  u.clip_value = static_cast<float>(rule.clip_value);
  u.momentum = static_cast<float>(rule.momentum);
  const double beta_2 = rule.kind == UpdateKind::rmsprop ? rule.rho : rule.beta_2;
  u.beta_2 = static_cast<float>(beta_2);
  u.rest_1 = static_cast<float>(1 - rule.beta_1);
  u.rest_2 = static_cast<float>(1 - beta_2);
  u.epsilon = static_cast<float>(rule.epsilon);
  u.nesterov = rule.nesterov;
  u.amsgrad = rule.amsgrad;
  u.centered = rule.centered;
  const auto t = static_cast<double>(step);
  const double correction = rule.kind == UpdateKind::adam
                                ? std::sqrt(1 - std::pow(rule.beta_2, t)) / (1 - std::pow(rule.beta_1, t))
                                : 1;
  u.learning_rate = static_cast<float>(learning_rate * correction);
  return u;
}

}  // namespace

void apply_update(const UpdateRule& rule, std::int64_t step, double learning_rate,
                  const std::vector<ParameterSpan>& spans) {
  std::vector<Elements> elements;
  for (const ParameterSpan& span : spans) elements.push_back(span.elements);
  const ParameterBlocks blocks(std::move(elements));
  const kernels::Update shared = common(rule, step, learning_rate);
  const UpdateKernel update = update_kernel(rule.kind);
  constexpr double operations_per_element = 10;
  parallel(threads_for(operations_per_element * static_cast<double>(blocks.elements())), [&](Team& team) {
    blocks.for_share(team, [&](index, index array, index first, index count) {
      const ParameterSpan& span = spans[static_cast<std::size_t>(array)];
      kernels::Update u = shared;
      u.count = count;
      u.parameter = span.parameter + first;
      u.gradient = span.gradient + first;
      for (int s = 0; s < 3; ++s) u.slots[s] = span.slots[s] ? span.slots[s] + first : nullptr;
      u.scale = static_cast<float>(span.gradient_scale);
      u.decay = static_cast<float>(learning_rate * span.weight_decay);
      update(u);
    });
  });
}

void update_means(const std::vector<MeanSpan>& spans, double weight) {
  std::vector<Elements> elements;
  for (const MeanSpan& span : spans) elements.push_back({span.count});
  const ParameterBlocks blocks(std::move(elements));
  constexpr double operations_per_element = 2;
  parallel(threads_for(operations_per_element * static_cast<double>(blocks.elements())), [&](Team& team) {
    blocks.for_share(team, [&](index, index array, index first, index count) {
      const MeanSpan& span = spans[static_cast<std::size_t>(array)];
      kernels::table().update_mean(count, static_cast<float>(weight), span.value + first, span.mean + first);
    });
  });
}

}  // namespace recurlm
