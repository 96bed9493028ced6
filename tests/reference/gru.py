"""One step of the gated recurrent unit, gates side by side in the order z r n (Keras).

`reset_after=False` (Cho et al. 2014, "Learning phrase representations using RNN encoder-decoder"), bias (3H,):

z = σ(x W_z + h_prev U_z + b_z)
r = σ(x W_r + h_prev U_r + b_r)
n = tanh(x W_n + (r ⊙ h_prev) U_n + b_n)

`reset_after=True` (the variant of cuDNN and of Keras's default) resets after the product; input and recurrent bias,
(2, 3H) in all, can then not be added up:

n = tanh(x W_n + b_n + r ⊙ (h_prev U_n + b′_n))          z and r add b and b′

Both:

h = z ⊙ h_prev + (1 − z) ⊙ n
"""

from dataclasses import dataclass

import numpy as np

from tests.reference import Array
from tests.reference.activations import sigmoid
from tests.reference.recurrent import Parameters, State


def gates(a: Array) -> list[Array]:
    """(..., 3H) -> its thirds for z, r, n."""
    return np.split(a, 3, axis=-1)


@dataclass(frozen=True)
class GRU:
    reset_after: bool = True

    def step(self, p: Parameters, x: Array, state: State) -> tuple[State, tuple[Array, ...]]:
        """x (B, D), state (h_prev (B, H),) -> new state and what `step_backward` needs."""
        (prev_h,) = state
        bias, recurrent_bias = p.bias if self.reset_after else (p.bias, np.zeros_like(p.bias))
        xz, xr, xn = gates(x @ p.kernel + bias)
        uz, ur, un = gates(p.recurrent_kernel)
        bz, br, bn = gates(recurrent_bias)
        z = sigmoid(xz + prev_h @ uz + bz)
        r = sigmoid(xr + prev_h @ ur + br)
        # q: what the reset gate multiplies, behind the product or in front of it.
        q = prev_h @ un + bn if self.reset_after else prev_h
        n = np.tanh(xn + (r * q if self.reset_after else (r * q) @ un))
        h = z * prev_h + (1.0 - z) * n
        return (h,), (x, prev_h, z, r, n, q)

    def step_backward(self, p: Parameters, cache: tuple[Array, ...], dstate: State) -> tuple[Array, State, Parameters]:
        """Gradient of the new state -> dx, gradient of the previous state, gradients of the parameters.

        ∂h/∂z = h_prev − n,  ∂h/∂n = 1 − z; σ′ and tanh′ turn gradients of gates into gradients of their arguments (da).
        """
        x, prev_h, z, r, n, q = cache
        (dh,) = dstate
        uz, ur, un = gates(p.recurrent_kernel)
        daz = dh * (prev_h - n) * z * (1.0 - z)
        dan = dh * (1.0 - z) * (1.0 - n * n)
        if self.reset_after:  # n's argument holds r ⊙ q with q = h_prev U_n + b′_n
            dr, dq = dan * q, dan * r
            dprev_h, dun = dq @ un.T, prev_h.T @ dq
        else:  # n's argument holds (r ⊙ h_prev) U_n
            drq = dan @ un.T
            dr, dq = drq * prev_h, dan
            dprev_h, dun = drq * r, (r * prev_h).T @ dan
        dar = dr * r * (1.0 - r)
        dprev_h += dh * z + daz @ uz.T + dar @ ur.T
        da = np.concatenate([daz, dar, dan], axis=-1)  # (B, 3H), of x W + b
        drecurrent = np.concatenate([prev_h.T @ daz, prev_h.T @ dar, dun], axis=-1)
        dbias = da.sum(axis=0)
        if self.reset_after:
            dbias = np.stack([dbias, np.concatenate([daz, dar, dq], axis=-1).sum(axis=0)])
        return da @ p.kernel.T, (dprev_h,), Parameters(x.T @ da, drecurrent, dbias)
