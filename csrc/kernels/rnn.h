// A simple recurrent unit (Elman 1990) for 32 units: h = f(.), f one of the activations. One panel.
#pragma once

#include "kernels/math.h"

namespace recurlm::kernels::RECURLM_KERNEL_ISA {
namespace {

void rnn_forward(const CellTile& t) {
  for (index r = 0; r < t.rows; ++r) {
    const bool masked = t.mask && !t.mask[r];
    float* gates = t.gates + r * panel_width;
    for (index u = 0; u < panel_width; u += lanes) {
      const index n = tail(t.units, u), at = r * t.ld + u;
      const vec h = apply(t.activation, load(gates + u));
      store(gates + u, h);
      store_n(t.h + at, masked ? load_n(t.prev_h + at, n) : h, n);
    }
  }
}

void rnn_backward(const CellTile& t) {
  const vec zero = set1(0.0f);
  for (index r = 0; r < t.rows; ++r) {
    const bool masked = t.mask && !t.mask[r];
    float* gates = t.gates + r * panel_width;
    for (index u = 0; u < panel_width; u += lanes) {
      const index n = tail(t.units, u), at = r * t.ld + u;
      const vec dh = t.dy ? load_n(t.dh + at, n) + load_n(t.dy + at, n) : load_n(t.dh + at, n);
      store(gates + u, masked ? zero : dh * gradient(t.activation, load(gates + u)));
      store_n(t.dh + at, masked ? dh : zero, n);
    }
  }
}

}  // namespace
}  // namespace recurlm::kernels::RECURLM_KERNEL_ISA
