// The rate of fused multiply-adds with everything in registers: what a kernel could reach at best; and the rate of reading memory.
#pragma once

#include "kernels/vec.h"

namespace recurlm::kernels::RECURLM_KERNEL_ISA {
namespace {

// Ten chains hide a latency of five cycles on two units; returns the operations done. `sink` keeps them from being removed.
double multiply_add_registers(index rounds, float* sink) {
  constexpr int chains = 10;
  vec acc[chains];
  for (int c = 0; c < chains; ++c) acc[c] = set1(static_cast<float>(c));
  const vec a = set1(sink[0]), b = set1(sink[1]);
  for (index i = 0; i < rounds; ++i)
    for (int c = 0; c < chains; ++c) acc[c] = fmadd(acc[c], a, b);
  vec total = acc[0];
  for (int c = 1; c < chains; ++c) total = total + acc[c];
  store_n(sink, total, 1);
  return 2.0 * lanes * chains * static_cast<double>(rounds);
}

// Every element is read once; returns their sum, which keeps the loads from being removed.
float add_up(index count, const float* x) {
  constexpr int chains = 8;
  vec acc[chains];
  for (int c = 0; c < chains; ++c) acc[c] = set1(0.0f);
  index i = 0;
  for (; i + chains * lanes <= count; i += chains * lanes)
    for (int c = 0; c < chains; ++c) acc[c] = acc[c] + load(x + i + c * lanes);
  for (; i < count; i += lanes) acc[0] = acc[0] + load_n(x + i, tail(count, i));
  vec total = acc[0];
  for (int c = 1; c < chains; ++c) total = total + acc[c];
  return sum(total);
}

}  // namespace
}  // namespace recurlm::kernels::RECURLM_KERNEL_ISA
