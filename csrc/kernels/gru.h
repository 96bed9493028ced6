// The gates of a GRU (Cho et al. 2014) for 32 units, in three panels z, r, n; x and h mark the input's and the state's part:
//
//   z, r = sigmoid(x + h)
//   reset after:   n = tanh(x_n + r * h_n)             where h_n = U_n prev_h + b
//   reset before:  n = tanh(x_n + U_n (r * prev_h))
//   h = z * prev_h + (1 - z) * n
#pragma once

#include "kernels/math.h"

namespace recurlm::kernels::RECURLM_KERNEL_ISA {
namespace {

RECURLM_INLINE vec interpolate(vec z, vec prev_h, vec n) { return fmadd(z, prev_h - n, n); }

void gru_forward(const CellTile& t) {
  for (index r = 0; r < t.rows; ++r) {
    const bool masked = t.mask && !t.mask[r];
    for (index u = 0; u < panel_width; u += lanes) {
      float* x = t.gates + r * panel_width + u;
      const float* h = t.recurrent_gates + r * panel_width + u;
      const index n = tail(t.units, u), at = r * t.ld + u, px = t.gates_panel, ph = t.recurrent_gates_panel;
      const vec z = sigmoid(load(x) + load(h)), reset = sigmoid(load(x + px) + load(h + ph));
      const vec candidate = tanh(fmadd(reset, load(h + 2 * ph), load(x + 2 * px)));
      const vec prev_h = load_n(t.prev_h + at, n);
      store(x, z);
      store(x + px, reset);
      store(x + 2 * px, candidate);
      store_n(t.h + at, masked ? prev_h : interpolate(z, prev_h, candidate), n);
    }
  }
}

void gru_backward(const CellTile& t) {
  const vec zero = set1(0.0f), one = set1(1.0f);
  for (index r = 0; r < t.rows; ++r) {
    const bool masked = t.mask && !t.mask[r];
    for (index u = 0; u < panel_width; u += lanes) {
      float* x = t.gates + r * panel_width + u;
      float* h = t.recurrent_gates + r * panel_width + u;
      const index n = tail(t.units, u), at = r * t.ld + u, px = t.gates_panel, ph = t.recurrent_gates_panel;
      const vec z = load(x), reset = load(x + px), candidate = load(x + 2 * px);
      const vec dh = t.dy ? load_n(t.dh + at, n) + load_n(t.dy + at, n) : load_n(t.dh + at, n);
      const vec dn = dh * (one - z) * tanh_gradient(candidate);
      const vec dz = dh * (load_n(t.prev_h + at, n) - candidate) * sigmoid_gradient(z);
      const vec dr = dn * load(h + 2 * ph) * sigmoid_gradient(reset);
      store(x, masked ? zero : dz);
      store(x + px, masked ? zero : dr);
      store(x + 2 * px, masked ? zero : dn);
      store(h, masked ? zero : dz);
      store(h + ph, masked ? zero : dr);
      store(h + 2 * ph, masked ? zero : dn * reset);
      store_n(t.dh + at, masked ? dh : dh * z, n);
    }
  }
}

// Reset before, first half: z and r are known, and with them what the candidate's product reads.
void gru_reset_forward(const CellTile& t) {
  for (index r = 0; r < t.rows; ++r)
    for (index u = 0; u < panel_width; u += lanes) {
      float* x = t.gates + r * panel_width + u;
      const index n = tail(t.units, u), at = r * t.ld + u;
      const vec reset = sigmoid(load(x + t.gates_panel));
      store(x, sigmoid(load(x)));
      store(x + t.gates_panel, reset);
      store_n(t.reset_h + at, reset * load_n(t.prev_h + at, n), n);
    }
}

void gru_candidate_forward(const CellTile& t) {
  for (index r = 0; r < t.rows; ++r) {
    const bool masked = t.mask && !t.mask[r];
    for (index u = 0; u < panel_width; u += lanes) {
      float* x = t.gates + r * panel_width + u;
      const index n = tail(t.units, u), at = r * t.ld + u;
      const vec candidate = tanh(load(x + 2 * t.gates_panel)), prev_h = load_n(t.prev_h + at, n);
      store(x + 2 * t.gates_panel, candidate);
      store_n(t.h + at, masked ? prev_h : interpolate(load(x), prev_h, candidate), n);
    }
  }
}

// Reset before, backward: z and n first; r waits for the gradient of r * prev_h, a product over all units of n.
void gru_candidate_backward(const CellTile& t) {
  const vec zero = set1(0.0f), one = set1(1.0f);
  for (index r = 0; r < t.rows; ++r) {
    const bool masked = t.mask && !t.mask[r];
    for (index u = 0; u < panel_width; u += lanes) {
      float* x = t.gates + r * panel_width + u;
      const index n = tail(t.units, u), at = r * t.ld + u;
      const vec z = load(x), candidate = load(x + 2 * t.gates_panel);
      const vec dh = t.dy ? load_n(t.dh + at, n) + load_n(t.dy + at, n) : load_n(t.dh + at, n);
      const vec dz = dh * (load_n(t.prev_h + at, n) - candidate) * sigmoid_gradient(z);
      const vec dn = dh * (one - z) * tanh_gradient(candidate);
      store(x, masked ? zero : dz);
      store(x + 2 * t.gates_panel, masked ? zero : dn);
      store_n(t.dh + at, masked ? dh : dh * z, n);
    }
  }
}

void gru_reset_backward(const CellTile& t) {
  const vec zero = set1(0.0f);
  for (index r = 0; r < t.rows; ++r) {
    const bool masked = t.mask && !t.mask[r];
    for (index u = 0; u < panel_width; u += lanes) {
      float* x = t.gates + r * panel_width + u + t.gates_panel;
      const index n = tail(t.units, u), at = r * t.ld + u;
      const vec reset = load(x), dreset_h = load_n(t.reset_h + at, n);
      store(x, masked ? zero : dreset_h * load_n(t.prev_h + at, n) * sigmoid_gradient(reset));
      if (!masked) store_n(t.dh + at, fmadd(dreset_h, reset, load_n(t.dh + at, n)), n);
    }
  }
}

}  // namespace
}  // namespace recurlm::kernels::RECURLM_KERNEL_ISA
