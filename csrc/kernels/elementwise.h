// Activations, softmax over rows, sums: one pass over memory each.
#pragma once

#include "kernels/math.h"

namespace recurlm::kernels::RECURLM_KERNEL_ISA {
namespace {

template <Activation F>
void activate(index count, const float* x, float* y) {
  for (index i = 0; i < count; i += lanes) {
    const index n = tail(count, i);
    store_n(y + i, apply(F, load_n(x + i, n)), n);
  }
}

void activation_forward(Activation f, index count, const float* x, float* y) {
  switch (f) {
    case Activation::tanh: return activate<Activation::tanh>(count, x, y);
    case Activation::sigmoid: return activate<Activation::sigmoid>(count, x, y);
    case Activation::relu: return activate<Activation::relu>(count, x, y);
    case Activation::gelu: return activate<Activation::gelu>(count, x, y);
    case Activation::linear: return activate<Activation::linear>(count, x, y);
  }
}

void activation_backward(Activation f, index count, const float* y, const float* dy, float* dx) {
  for (index i = 0; i < count; i += lanes) {
    const index n = tail(count, i);
    store_n(dx + i, load_n(dy + i, n) * gradient(f, load_n(y + i, n)), n);
  }
}

// The largest of `count` > 0 elements.
RECURLM_INLINE float largest(index count, const float* x) {
  vec best = set1(x[0]);
  index i = 0;
  for (; i + lanes <= count; i += lanes) best = max(load(x + i), best);
  float values[lanes];
  store(values, best);
  float result = values[0];
  for (int l = 1; l < lanes; ++l) result = values[l] > result ? values[l] : result;
  for (; i < count; ++i) result = x[i] > result ? x[i] : result;
  return result;
}

void softmax_forward(index rows, index cols, const float* x, float* y) {
  for (index r = 0; r < rows; ++r, x += cols, y += cols) {
    const vec shift = set1(largest(cols, x));
    vec total = set1(0.0f);
    for (index i = 0; i < cols; i += lanes) {
      const index n = tail(cols, i);
      const vec e = exp(load_n(x + i, n) - shift);
      store_n(y + i, e, n);
      total = total + load_n(y + i, n);  // loaded again, so that lanes beyond the row count as 0
    }
    const vec scale = set1(1.0f / sum(total));
    for (index i = 0; i < cols; i += lanes) {
      const index n = tail(cols, i);
      store_n(y + i, load_n(y + i, n) * scale, n);
    }
  }
}

SoftmaxBlock softmax_block(index count, const float* logits, float scale) {
  const float lowest = -__builtin_inff();
  const vec zero = set1(0.0f), one = set1(1.0f);
  vec best = set1(lowest), best_at = zero, not_numbers = zero;  // a maximum alone would pass over NaN
  index i = 0;
  for (; i + lanes <= count; i += lanes) {
    const vec x = load(logits + i);
    not_numbers = not_numbers + select_ge(x, set1(lowest), zero, one);
    best_at = select_gt(x, best, set1(static_cast<float>(i)), best_at);
    best = max(x, best);
  }
  float values[lanes], at[lanes];
  store(values, best);
  store(at, best_at);
  SoftmaxBlock block{lowest, 0.0f, 0};
  for (int l = 0; l < lanes; ++l) {
    const auto here = static_cast<std::int32_t>(at[l]) + l;
    if (values[l] > block.maximum || (values[l] == block.maximum && here < block.at)) block = {values[l], 0.0f, here};
  }
  bool numbers = sum(not_numbers) == 0.0f;
  for (; i < count; ++i) {
    numbers = numbers && logits[i] >= lowest;
    if (logits[i] > block.maximum) block = {logits[i], 0.0f, static_cast<std::int32_t>(i)};
  }
  if (!numbers) return {block.maximum, __builtin_nanf(""), block.at};
  if (block.maximum == lowest) return block;  // nothing that could be drawn
  if (scale == 0.0f) return {block.maximum, 1.0f, block.at};
  const vec shift = set1(block.maximum), factor = set1(scale);
  vec total = zero;
  for (i = 0; i + lanes <= count; i += lanes) total = total + exp((load(logits + i) - shift) * factor);
  if (i < count) {
    float rest[lanes];
    store(rest, exp((load_n(logits + i, count - i) - shift) * factor));
    for (index l = count - i; l < lanes; ++l) rest[l] = 0.0f;
    total = total + load(rest);
  }
  block.sum = sum(total);
  return block;
}

// dx = y * (dy - sum(dy * y))
void softmax_backward(index rows, index cols, const float* y, const float* dy, float* dx) {
  for (index r = 0; r < rows; ++r, y += cols, dy += cols, dx += cols) {
    vec total = set1(0.0f);
    for (index i = 0; i < cols; i += lanes) {
      const index n = tail(cols, i);
      total = fmadd(load_n(dy + i, n), load_n(y + i, n), total);
    }
    const vec shift = set1(sum(total));
    for (index i = 0; i < cols; i += lanes) {
      const index n = tail(cols, i);
      store_n(dx + i, load_n(y + i, n) * (load_n(dy + i, n) - shift), n);
    }
  }
}

// y = x * factors, rows of all three `ld` apart.
void multiply_rows(index rows, index cols, const float* x, const float* factors, float* y, index ld) {
  for (index r = 0; r < rows; ++r, x += ld, factors += ld, y += ld)
    for (index i = 0; i < cols; i += lanes) {
      const index n = tail(cols, i);
      store_n(y + i, load_n(x + i, n) * load_n(factors + i, n), n);
    }
}

// y += x * factors
void multiply_add_rows(index rows, index cols, const float* x, const float* factors, float* y, index ld) {
  for (index r = 0; r < rows; ++r, x += ld, factors += ld, y += ld)
    for (index i = 0; i < cols; i += lanes) {
      const index n = tail(cols, i);
      store_n(y + i, fmadd(load_n(x + i, n), load_n(factors + i, n), load_n(y + i, n)), n);
    }
}

void add(index count, const float* x, float* y) {
  for (index i = 0; i < count; i += lanes) {
    const index n = tail(count, i);
    store_n(y + i, load_n(x + i, n) + load_n(y + i, n), n);
  }
}

void add_rows(index rows, const float* x, const std::int32_t* to, float* y) {
  for (index r = 0; r < rows; ++r)
    for (int l = 0; l < panel_width; l += lanes) {
      float* sum = y + to[r] * panel_width + l;
      store(sum, load(sum) + load(x + r * panel_width + l));
    }
}

void column_sums(index rows, index cols, const float* x, index ld, float* sums) {
  for (index r = 0; r < rows; ++r) add(cols, x + r * ld, sums);
}

}  // namespace
}  // namespace recurlm::kernels::RECURLM_KERNEL_ISA
