"""One step of each optimiser for one parameter p with gradient g, in the form that Keras 3 gives it.

Before the rule: g ← clip(scale · g, ±clip_value), then decoupled weight decay p ← p − η λ p (Loshchilov and Hutter
2019, "Decoupled weight decay regularization"). η is the learning rate, t the step counted from 1.
"""

from dataclasses import dataclass

import numpy as np

from tests.reference import Array


@dataclass(frozen=True)
class Rule:
    """Names, order of slots and defaults of `_core.UpdateRule`."""

    kind: str
    momentum: float = 0.0
    nesterov: bool = False
    rho: float = 0.9
    centered: bool = False
    beta_1: float = 0.9
    beta_2: float = 0.999
    amsgrad: bool = False
    epsilon: float = 1e-7
    clip_value: float = 0.0


def sgd(rule: Rule, step: int, lr: float, p: Array, g: Array, slots: list[Array]) -> None:
    """Robbins and Monro 1951; momentum Polyak 1964; look-ahead Nesterov 1983 in the form of Sutskever et al. 2013.

    plain:      p ← p − η g
    momentum:   v ← μ v − η g,    p ← p + v
    nesterov:   v ← μ v − η g,    p ← p + μ v − η g
    """
    if rule.momentum == 0.0:
        p -= lr * g
        return
    (v,) = slots
    v[...] = rule.momentum * v - lr * g
    p += rule.momentum * v - lr * g if rule.nesterov else v


def rmsprop(rule: Rule, step: int, lr: float, p: Array, g: Array, slots: list[Array]) -> None:
    """Tieleman and Hinton 2012; centred as in Graves 2013, "Generating sequences with recurrent neural networks".

    s ← ρ s + (1 − ρ) g²          a ← ρ a + (1 − ρ) g (centred)
    u = η g / √(s − a² + ε)       (without a where not centred)
    m ← μ m + u,  p ← p − m       (p ← p − u where μ = 0)
    """
    s, others = slots[0], slots[1:]
    s[...] = rule.rho * s + (1.0 - rule.rho) * g * g
    variance = s
    if rule.centered:
        a = others[-1]
        a[...] = rule.rho * a + (1.0 - rule.rho) * g
        variance = s - a * a
    u = lr * g / np.sqrt(variance + rule.epsilon)
    if rule.momentum > 0.0:
        m = others[0]
        m[...] = rule.momentum * m + u
        u = m
    p -= u


def adagrad(rule: Rule, step: int, lr: float, p: Array, g: Array, slots: list[Array]) -> None:
    """Duchi, Hazan and Singer 2011, "Adaptive subgradient methods".

    s ← s + g²,    p ← p − η g / √(s + ε)
    """
    (s,) = slots
    s += g * g
    p -= lr * g / np.sqrt(s + rule.epsilon)


def adam(rule: Rule, step: int, lr: float, p: Array, g: Array, slots: list[Array]) -> None:
    """Kingma and Ba 2015, "Adam"; amsgrad Reddi, Kale and Kumar 2018.

    m ← m + (1 − β₁)(g − m)       v ← v + (1 − β₂)(g² − v)
    α = η √(1 − β₂ᵗ) / (1 − β₁ᵗ)
    p ← p − α m / (√v + ε)        amsgrad: with v̂ ← max(v̂, v) for v
    """
    m, v = slots[0], slots[1]
    m += (1.0 - rule.beta_1) * (g - m)
    v += (1.0 - rule.beta_2) * (g * g - v)
    if rule.amsgrad:
        v = np.maximum(slots[2], v, out=slots[2])
    alpha = lr * np.sqrt(1.0 - rule.beta_2**step) / (1.0 - rule.beta_1**step)
    p -= alpha * m / (np.sqrt(v) + rule.epsilon)


def lion(rule: Rule, step: int, lr: float, p: Array, g: Array, slots: list[Array]) -> None:
    """Chen et al. 2023, "Symbolic discovery of optimization algorithms".

    p ← p − η sign(β₁ m + (1 − β₁) g)       m ← β₂ m + (1 − β₂) g
    """
    (m,) = slots
    p -= lr * np.sign(rule.beta_1 * m + (1.0 - rule.beta_1) * g)
    m[...] = rule.beta_2 * m + (1.0 - rule.beta_2) * g


RULES = {"sgd": sgd, "rmsprop": rmsprop, "adagrad": adagrad, "adam": adam, "lion": lion}


def apply_update(
    rule: Rule,
    step: int,
    learning_rate: float,
    parameter: Array,
    gradient: Array,
    slots: list[Array],
    scale: float = 1.0,
    weight_decay: float = 0.0,
) -> None:
    """Update parameter and slots, all of one shape, in place."""
    g = scale * gradient
    if rule.clip_value > 0.0:
        g = np.clip(g, -rule.clip_value, rule.clip_value)
    parameter -= learning_rate * weight_decay * parameter
    RULES[rule.kind](rule, step, learning_rate, parameter, g, slots)


def update_mean(value: Array, mean: Array, weight: float) -> Array:
    """A running mean: a ← a + w (x − a). w = 1/t is the mean of t values, 1 − μ an exponential average."""
    return mean + weight * (value - mean)
