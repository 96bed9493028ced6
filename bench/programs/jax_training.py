"""JAX: the whole step in one jitted function, ``lax.scan`` over time, parameters and moments donated.

Letters: T steps, B batch, D input width, H units, G gates; weights have Keras's layout and gate order.
"""

from collections.abc import Callable
from typing import Any

import jax
from jax import lax
from jax import numpy as jnp

from bench.configs import BETA_1, BETA_2, CLIP_NORM, EPSILON, LEARNING_RATE, Config, Float, Ids
from bench.programs import Step

Array = Any  # of JAX, which checks its own


def rnn(z: Array, state: Array, recurrent_kernel: Array, bias: Array) -> Array:
    return (jnp.tanh(z + state[0] @ recurrent_kernel + bias),)


def gru(z: Array, state: Array, recurrent_kernel: Array, bias: Array) -> Array:
    (h,) = state
    update, reset, candidate = jnp.split(z + bias[0], 3, axis=-1)
    to_update, to_reset, to_candidate = jnp.split(h @ recurrent_kernel + bias[1], 3, axis=-1)
    gate = jax.nn.sigmoid(update + to_update)
    new = jnp.tanh(candidate + jax.nn.sigmoid(reset + to_reset) * to_candidate)
    return (gate * h + (1 - gate) * new,)


def lstm(z: Array, state: Array, recurrent_kernel: Array, bias: Array) -> Array:
    h, c = state
    i, f, g, o = jnp.split(z + h @ recurrent_kernel + bias, 4, axis=-1)
    c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
    return jax.nn.sigmoid(o) * jnp.tanh(c), c


CELLS: dict[str, Callable[..., Array]] = {"rnn": rnn, "gru": gru, "lstm": lstm}


def loss(weights: Array, states: Array, ids: Array, targets: Array, cell: Callable[..., Array]) -> Array:
    """Mean cross-entropy of ids and targets (T, B), and the states after them."""
    x = weights[0][ids]
    ends = []
    for layer, state in enumerate(states):
        kernel, recurrent_kernel, bias = weights[1 + 3 * layer : 4 + 3 * layer]

        def step(state: Array, z: Array, parameters: Array = (recurrent_kernel, bias)) -> Array:
            state = cell(z, state, *parameters)
            return state, state[0]

        end, x = lax.scan(step, state, x @ kernel)  # the input products of all steps are one; unrolling was slower
        ends.append(end)
    logits = x @ weights[-2] + weights[-1]
    chosen = jnp.take_along_axis(logits, targets[..., None], axis=-1)[..., 0]
    return jnp.mean(jax.nn.logsumexp(logits, axis=-1) - chosen), ends


def train(weights: Array, moments: Array, states: Array, count: Array, ids: Array, targets: Array, cell: Any) -> Array:
    """One step with clipping and Keras's Adam."""
    (value, states), gradients = jax.value_and_grad(loss, has_aux=True)(weights, states, ids, targets, cell)
    norm = jnp.sqrt(sum(jnp.vdot(g, g) for g in gradients))
    scale = CLIP_NORM / jnp.maximum(norm, CLIP_NORM)
    count = count + 1
    rate = LEARNING_RATE * jnp.sqrt(1 - BETA_2**count) / (1 - BETA_1**count)
    m = [BETA_1 * m + (1 - BETA_1) * scale * g for m, g in zip(moments[0], gradients, strict=True)]
    v = [BETA_2 * v + (1 - BETA_2) * (scale * g) ** 2 for v, g in zip(moments[1], gradients, strict=True)]
    weights = [w - rate * m / (jnp.sqrt(v) + EPSILON) for w, m, v in zip(weights, m, v, strict=True)]
    return weights, [m, v], states, count, value


def build(config: Config, weights: list[Float], threads: int, dtype: str = "float32") -> Step:
    del threads, dtype  # XLA takes its threads from the environment, see ``bench.worker``
    parts = 2 if config.cell == "lstm" else 1
    jitted = jax.jit(train, static_argnames="cell", donate_argnums=(0, 1, 2, 3))
    carried: Any = (
        [jnp.array(w) for w in weights],
        [[jnp.zeros_like(w) for w in weights] for _ in range(2)],
        [tuple(jnp.zeros((config.batch, config.units)) for _ in range(parts)) for _ in range(config.layers)],
        jnp.zeros(()),
    )

    def step(ids: Ids, targets: Ids) -> float:
        nonlocal carried
        *carried, value = jitted(*carried, ids.T, targets.T, cell=CELLS[config.cell])
        return float(value)

    return step
