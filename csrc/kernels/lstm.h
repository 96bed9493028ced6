// The gates of an LSTM (Hochreiter & Schmidhuber 1997, with the forget gate of Gers et al. 2000) for 16 units:
//
//   i, f, o = sigmoid(.)   g = tanh(.)   c = f * prev_c + i * g   h = o * tanh(c)
//
// One panel holds i and f of the 16 units, the next one g and o.
#pragma once

#include "kernels/math.h"

namespace recurlm::kernels::RECURLM_KERNEL_ISA {
namespace {

void lstm_forward(const CellTile& t) {
  for (index r = 0; r < t.rows; ++r) {
    const bool masked = t.mask && !t.mask[r];
    float* if_gates = t.gates + r * panel_width;
    float* go_gates = if_gates + t.gates_panel;
    for (index u = 0; u < half_width; u += lanes) {
      const index n = tail(t.units, u), at = r * t.ld + u;
      const vec i = sigmoid(load(if_gates + u)), f = sigmoid(load(if_gates + half_width + u));
      const vec g = tanh(load(go_gates + u)), o = sigmoid(load(go_gates + half_width + u));
      const vec prev_c = load_n(t.prev_c + at, n);
      const vec c = fmadd(f, prev_c, i * g);
      store(if_gates + u, i);
      store(if_gates + half_width + u, f);
      store(go_gates + u, g);
      store(go_gates + half_width + u, o);
      store_n(t.c + at, masked ? prev_c : c, n);
      store_n(t.h + at, masked ? load_n(t.prev_h + at, n) : o * tanh(c), n);
    }
  }
}

void lstm_backward(const CellTile& t) {
  const vec zero = set1(0.0f);
  for (index r = 0; r < t.rows; ++r) {
    const bool masked = t.mask && !t.mask[r];
    float* if_gates = t.gates + r * panel_width;
    float* go_gates = if_gates + t.gates_panel;
    for (index u = 0; u < half_width; u += lanes) {
      const index n = tail(t.units, u), at = r * t.ld + u;
      const vec i = load(if_gates + u), f = load(if_gates + half_width + u);
      const vec g = load(go_gates + u), o = load(go_gates + half_width + u);
      const vec dh = t.dy ? load_n(t.dh + at, n) + load_n(t.dy + at, n) : load_n(t.dh + at, n);
      const vec tanh_c = tanh(load_n(t.c + at, n));
      const vec dc = fmadd(dh * o, tanh_gradient(tanh_c), load_n(t.dc + at, n));
      const vec di = dc * g * sigmoid_gradient(i);
      const vec df = dc * load_n(t.prev_c + at, n) * sigmoid_gradient(f);
      const vec dg = dc * i * tanh_gradient(g);
      const vec do_ = dh * tanh_c * sigmoid_gradient(o);
      store(if_gates + u, masked ? zero : di);
      store(if_gates + half_width + u, masked ? zero : df);
      store(go_gates + u, masked ? zero : dg);
      store(go_gates + half_width + u, masked ? zero : do_);
      store_n(t.dh + at, masked ? dh : zero, n);
      if (!masked) store_n(t.dc + at, dc * f, n);
    }
  }
}

}  // namespace
}  // namespace recurlm::kernels::RECURLM_KERNEL_ISA
