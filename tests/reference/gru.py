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

Recurrent dropout puts h_prev ⊙ m, with `state_factors` m (B, H), in the place of the h_prev that meets U, but not of
the one that z keeps.
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
    state_factors: Array | float = 1.0

    def step(self, p: Parameters, x: Array, state: State) -> tuple[State, tuple[Array, ...]]:
        """x (B, D), state (h_prev (B, H),) -> new state and what `step_backward` needs."""
        prev_h, m = state[0], state[0] * self.state_factors
        bias, recurrent_bias = p.bias if self.reset_after else (p.bias, np.zeros_like(p.bias))
        xz, xr, xn = gates(x @ p.kernel + bias)
        uz, ur, un = gates(p.recurrent_kernel)
        bz, br, bn = gates(recurrent_bias)
        z = sigmoid(xz + m @ uz + bz)
        r = sigmoid(xr + m @ ur + br)
        # q: what the reset gate multiplies, behind the product or in front of it.
        q = m @ un + bn if self.reset_after else m
        n = np.tanh(xn + (r * q if self.reset_after else (r * q) @ un))
        h = z * prev_h + (1.0 - z) * n
        return (h,), (x, prev_h, z, r, n, q)

    def step_backward(self, p: Parameters, cache: tuple[Array, ...], dstate: State) -> tuple[Array, State, Parameters]:
        """Gradient of the new state -> dx, gradient of the previous state, gradients of the parameters.

        ∂h/∂z = h_prev − n,  ∂h/∂n = 1 − z; σ′ and tanh′ turn gradients of gates into gradients of their arguments (da).
        """
        x, prev_h, z, r, n, q = cache
        m = prev_h * self.state_factors
        (dh,) = dstate
        uz, ur, un = gates(p.recurrent_kernel)
        daz = dh * (prev_h - n) * z * (1.0 - z)
        dan = dh * (1.0 - z) * (1.0 - n * n)
        if self.reset_after:  # n's argument holds r ⊙ q with q = h_prev U_n + b′_n
            dr, dq = dan * q, dan * r
            dm, dun = dq @ un.T, m.T @ dq
        else:  # n's argument holds (r ⊙ h_prev) U_n
            drq = dan @ un.T
            dr, dq = drq * m, dan
            dm, dun = drq * r, (r * m).T @ dan
        dar = dr * r * (1.0 - r)
        dprev_h = dh * z + self.state_factors * (dm + daz @ uz.T + dar @ ur.T)
        da = np.concatenate([daz, dar, dan], axis=-1)  # (B, 3H), of x W + b
        drecurrent = np.concatenate([m.T @ daz, m.T @ dar, dun], axis=-1)
        dbias = da.sum(axis=0)
        if self.reset_after:
            dbias = np.stack([dbias, np.concatenate([daz, dar, dq], axis=-1).sum(axis=0)])
        return da @ p.kernel.T, (dprev_h,), Parameters(x.T @ da, drecurrent, dbias)
