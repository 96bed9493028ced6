"""One step of the simple recurrent cell (Elman 1990, "Finding structure in time").

a  = x W + h_prev U + b
h  = f(a)                                  f: tanh, relu, sigmoid or linear

Backward, given dh:

da = dh ⊙ f′                               dx = da Wᵀ        dh_prev = da Uᵀ
dW = xᵀ da          dU = h_prevᵀ da        db = Σ_rows da

Recurrent dropout puts h_prev ⊙ m, with `state_factors` m (B, H), in the place of the h_prev that meets U.
"""

from dataclasses import dataclass

from tests.reference import Array, activations
from tests.reference.recurrent import Parameters, State


@dataclass(frozen=True)
class SimpleRNN:
    activation: str = "tanh"
    state_factors: Array | float = 1.0

    def step(self, p: Parameters, x: Array, state: State) -> tuple[State, tuple[Array, ...]]:
        """x (B, D), state (h_prev (B, H),) -> new state and what `step_backward` needs."""
        prev_h = state[0] * self.state_factors
        h = activations.forward(self.activation, x @ p.kernel + prev_h @ p.recurrent_kernel + p.bias)
        return (h,), (x, prev_h, h)

    def step_backward(self, p: Parameters, cache: tuple[Array, ...], dstate: State) -> tuple[Array, State, Parameters]:
        """Gradient of the new state -> dx, gradient of the previous state, gradients of the parameters."""
        x, prev_h, h = cache
        (dh,) = dstate
        da = activations.backward(self.activation, h, dh)
        gradients = Parameters(x.T @ da, prev_h.T @ da, da.sum(axis=0))
        return da @ p.kernel.T, (da @ p.recurrent_kernel.T * self.state_factors,), gradients
