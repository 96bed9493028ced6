"""One step of long short-term memory (Hochreiter and Schmidhuber 1997; the forget gate is from Gers, Schmidhuber and
Cummins 2000, "Learning to forget"), gates side by side in the order i f g o (Keras):

a = x W + h_prev U + b                     (B, 4H), cut into a_i a_f a_g a_o

i = σ(a_i)     f = σ(a_f)     g = tanh(a_g)     o = σ(a_o)

c = f ⊙ c_prev + i ⊙ g
h = o ⊙ tanh(c)

Backward, given dh and dc from the step behind:

dc  ← dc + dh ⊙ o ⊙ (1 − tanh²(c))
da_i = dc ⊙ g ⊙ i (1 − i)                  da_f = dc ⊙ c_prev ⊙ f (1 − f)
da_g = dc ⊙ i ⊙ (1 − g²)                   da_o = dh ⊙ tanh(c) ⊙ o (1 − o)
dx = da Wᵀ          dh_prev = da Uᵀ        dc_prev = dc ⊙ f
dW = xᵀ da          dU = h_prevᵀ da        db = Σ_rows da

Recurrent dropout puts h_prev ⊙ m, with `state_factors` m (B, H), in the place of h_prev (Gal and Ghahramani 2016, "A
theoretically grounded application of dropout in recurrent neural networks").
"""

from dataclasses import dataclass

import numpy as np

from tests.reference import Array
from tests.reference.activations import sigmoid
from tests.reference.recurrent import Parameters, State


@dataclass(frozen=True)
class LSTM:
    state_factors: Array | float = 1.0

    def step(self, p: Parameters, x: Array, state: State) -> tuple[State, tuple[Array, ...]]:
        """x (B, D), state (h_prev, c_prev), each (B, H) -> new state and what `step_backward` needs."""
        prev_h, prev_c = state[0] * self.state_factors, state[1]
        ai, af, ag, ao = np.split(x @ p.kernel + prev_h @ p.recurrent_kernel + p.bias, 4, axis=-1)
        i, f, g, o = sigmoid(ai), sigmoid(af), np.tanh(ag), sigmoid(ao)
        c = f * prev_c + i * g
        h = o * np.tanh(c)
        return (h, c), (x, prev_h, prev_c, i, f, g, o, c)

    def step_backward(self, p: Parameters, cache: tuple[Array, ...], dstate: State) -> tuple[Array, State, Parameters]:
        """Gradient of the new state -> dx, gradient of the previous state, gradients of the parameters."""
        x, prev_h, prev_c, i, f, g, o, c = cache
        dh, dc = dstate
        tanh_c = np.tanh(c)
        dc = dc + dh * o * (1.0 - tanh_c * tanh_c)
        dai = dc * g * i * (1.0 - i)
        daf = dc * prev_c * f * (1.0 - f)
        dag = dc * i * (1.0 - g * g)
        dao = dh * tanh_c * o * (1.0 - o)
        da = np.concatenate([dai, daf, dag, dao], axis=-1)  # (B, 4H)
        gradients = Parameters(x.T @ da, prev_h.T @ da, da.sum(axis=0))
        return da @ p.kernel.T, (da @ p.recurrent_kernel.T * self.state_factors, dc * f), gradients
