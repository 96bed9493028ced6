"""Writes reference cases to a file for the native test program: python -m tests.native.write_cases FILE

The file holds the eight bytes "rlcases1" and then arrays until its end, all numbers little-endian:

    uint32   length of the name in bytes
    bytes    name, "family/case/array"; the arrays of one case follow one another
    uint32   0 for float32, 1 for int32
    uint32   rank
    uint32   extent, for each axis
    bytes    elements in C order

Inputs have the names of the core's arguments, options are int32 or float32 of rank 0, and what must come out stands
under "expected <name>", to within "tolerance" of its largest magnitude or of 1. What is absent is left out.
"""

import dataclasses
import itertools
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from tests.reference import attention, layer_norm, linear, losses, optimizers, projection_cross_entropy
from tests.reference.cases import BFLOAT16_CELLS, CELLS, RecurrentCase, double, normal, recurrent_case
from tests.reference.precision import round_to_bfloat16

MAGIC = b"rlcases1"
Values: TypeAlias = dict[str, npt.ArrayLike | None]

# Positions in the core's enumerations.
CELL_KINDS = ["rnn", "gru", "lstm"]
ACTIVATIONS = ["linear", "tanh", "sigmoid", "relu"]
LOSSES = ["mean_squared_error", "mean_absolute_error", "binary_crossentropy", "categorical_crossentropy"]
UPDATES = ["sgd", "rmsprop", "adagrad", "adam", "lion"]


def encode(name: str, value: npt.ArrayLike) -> bytes:
    array: npt.NDArray[Any] = np.asarray(value)
    kind = 1 if array.dtype.kind in "iub" else 0
    array = array.astype("<i4" if kind else "<f4")
    label = name.encode()
    head = struct.pack(f"<I{len(label)}s{2 + array.ndim}I", len(label), label, kind, array.ndim, *array.shape)
    return head + array.tobytes()


def linear_cases() -> Iterator[tuple[str, Values]]:
    # The last is large enough for its work to be divided among threads.
    for rows, depth, width in [(0, 3, 4), (1, 1, 1), (1, 7, 33), (14, 16, 65), (5, 1500, 3), (150, 80, 140)]:
        for transposed, bfloat16 in itertools.product((False, True), repeat=2):
            rng = np.random.default_rng(1)
            x, kernel = normal(rng, rows, depth), normal(rng, depth, width)
            bias, dy = normal(rng, width), normal(rng, rows, width)
            if bfloat16:  # operands that need no rounding
                x, kernel, dy = (round_to_bfloat16(double(a)).astype(np.float32) for a in (x, kernel, dy))
            dx, dkernel, dbias = linear.backward(double(x), double(kernel), double(dy))
            values: Values = {"x": x, "kernel": kernel.T if transposed else kernel, "bias": bias, "dy": dy}
            values |= {"transposed": transposed, "precision": int(bfloat16), "tolerance": 1e-5}
            values |= {"expected y": linear.forward(double(x), double(kernel), double(bias)), "expected dx": dx}
            values |= {"expected dkernel": dkernel.T if transposed else dkernel, "expected dbias": dbias}
            yield f"{rows}x{depth}x{width}{' transposed' * transposed}{' bfloat16' * bfloat16}", values


def recurrent_values(case: RecurrentCase) -> Values:
    run, gradients = case.reference()
    spec, p = case.spec, gradients.dparameters
    values: Values = {"kind": CELL_KINDS.index(spec.kind), "activation": ACTIVATIONS.index(spec.activation)}
    values |= {"reset_after": spec.reset_after, "reverse": case.reverse, "mask": case.mask}
    values |= {"state_factors": case.state_factors}
    values |= {"x": case.x, "kernel": case.kernel, "recurrent_kernel": case.recurrent_kernel, "bias": case.bias}
    values |= {
        "precision": int(spec.precision == "bfloat16"),
        "tolerance": 1e-5 if spec.precision == "float32" else 2**-6,
    }
    values |= {"dy": case.dy, "expected dx": gradients.dx, "expected dkernel": p.kernel}
    values |= {"expected drecurrent_kernel": p.recurrent_kernel, "expected dbias": p.bias}
    for i, name in enumerate("hc"[: spec.states]):
        values |= {f"initial {name}": case.initial[i], f"d{name}": case.dfinal[i]}
        values |= {f"expected {name}": run.states[i], f"expected d{name}": gradients.dinitial[i]}
    return values


def recurrent_cases() -> Iterator[tuple[str, Values]]:
    for spec in CELLS + BFLOAT16_CELLS:
        for sizes in [(0, 3, 7, 5), (2, 0, 3, 5), (1, 1, 1, 1), (5, 3, 7, 33), (3, 17, 5, 16), (2, 61, 20, 131)]:
            for odd in (False, True):
                case = recurrent_case(spec, sizes, seed=2, masked=odd, reverse=odd, biased=not odd, dropped=odd)
                yield f"{spec} {sizes}{' masked reverse dropped' if odd else ''}", recurrent_values(case)
        yield f"{spec} repeated", repeated_values(recurrent_case(spec, (3, 61, 20, 131), seed=2))


def repeated_values(case: RecurrentCase) -> Values:
    """The same case with 40 inputs that repeat."""
    rng = np.random.default_rng(6)
    x, rows = normal(rng, 40, case.x.shape[2]), rng.integers(0, 40, case.x.shape[:2], dtype=np.int32)
    values = recurrent_values(dataclasses.replace(case, x=x[rows]))
    dx = np.zeros(x.shape)
    np.add.at(dx, rows, np.asarray(values["expected dx"]))
    return values | {"x": x, "rows": rows, "expected dx": dx}


def projection_cases() -> Iterator[tuple[str, Values]]:
    for rows, vocabulary in [(0, 5), (1, 1), (13, 65), (70, 257), (520, 600)]:
        for transposed, bfloat16 in itertools.product((False, True), repeat=2):
            rng = np.random.default_rng(3)
            x, kernel, bias = normal(rng, rows, 5), normal(rng, 5, vocabulary), normal(rng, vocabulary)
            targets = rng.integers(0, vocabulary, rows, dtype=np.int32)
            weights = rng.uniform(0.1, 1.0, rows).astype(np.float32)
            weights[::3] = 0.0
            smoothing = 0.1 * transposed
            result = projection_cross_entropy.forward_backward(
                double(x), double(kernel), double(bias), targets, double(weights), smoothing
            )
            values: Values = {"x": x, "kernel": kernel.T if transposed else kernel, "bias": bias, "targets": targets}
            values |= {"weights": weights, "transposed": transposed, "smoothing": smoothing}
            values |= {"precision": int(bfloat16), "tolerance": 2**-6 if bfloat16 else 1e-5}
            values |= {"expected loss": [result.loss], "expected log_probs": result.log_probs}
            values |= {"expected dkernel": result.dkernel.T if transposed else result.dkernel}
            values |= {"expected dx": result.dx, "expected dbias": result.dbias}
            yield f"{rows}x{vocabulary}{' transposed' * transposed}{' bfloat16' * bfloat16}", values


def loss_cases() -> Iterator[tuple[str, Values]]:
    for rows, width in [(0, 3), (1, 1), (17, 65), (300, 33)]:
        rng = np.random.default_rng(4)
        y_true, y_pred = (rng.uniform(0.01, 0.99, (rows, width)).astype(np.float32) for _ in range(2))
        weights = normal(rng, rows)
        for kind, name in enumerate([*LOSSES, "softmax_cross_entropy"]):
            if name == "softmax_cross_entropy":
                loss, dy = losses.softmax_cross_entropy(double(y_pred), double(y_true))
            else:
                loss, dy = getattr(losses, name)(double(y_true), double(y_pred))
            values: Values = {"kind": kind, "y_true": y_true, "y_pred": y_pred, "weights": weights, "tolerance": 1e-5}
            yield f"{name} {rows}x{width}", values | {"expected loss": loss, "expected dy": weights[:, None] * dy}


def optimizer_cases() -> Iterator[tuple[str, Values]]:
    rules = [
        (optimizers.Rule("sgd"), 0),
        (optimizers.Rule("sgd", momentum=0.9, nesterov=True), 1),
        (optimizers.Rule("rmsprop", momentum=0.5, centered=True), 3),
        (optimizers.Rule("adagrad"), 1),
        (optimizers.Rule("adam", amsgrad=True, clip_value=0.5), 3),
        (optimizers.Rule("lion"), 1),
    ]
    for rule, slots in rules:
        for size in (0, 1, 37, 100_003):
            rng = np.random.default_rng(5)
            parameter, gradient = normal(rng, size), normal(rng, size)
            expected, state = double(parameter), [np.zeros(size) for _ in range(slots)]
            optimizers.apply_update(rule, 1, 0.1, expected, double(gradient), state, 0.5, 0.01)
            values: Values = {**dataclasses.asdict(rule), "kind": UPDATES.index(rule.kind), "tolerance": 1e-6}
            values |= {"parameter": parameter, "gradient": gradient, "learning_rate": 0.1, "scale": 0.5}
            values |= {"weight_decay": 0.01, "expected parameter": expected}
            values |= {f"expected slot {k}": slot for k, slot in enumerate(state)}
            yield f"{rule.kind} {size}", values


def mean_cases() -> Iterator[tuple[str, Values]]:
    for weight in (0.0, 0.01, 1.0):
        for size in (0, 1, 37, 100_003):
            rng = np.random.default_rng(6)
            value, mean = normal(rng, size), normal(rng, size)
            expected = optimizers.update_mean(double(value), double(mean), weight)
            values: Values = {"value": value, "mean": mean, "weight": weight, "tolerance": 1e-6}
            yield f"{weight} {size}", values | {"expected mean": expected}


def attention_cases() -> Iterator[tuple[str, Values]]:
    # T, S, B, N, K, V; the last is large enough for its work to be divided among threads.
    for sizes in [
        (0, 3, 2, 1, 4, 4),
        (3, 0, 2, 1, 4, 4),
        (1, 1, 1, 1, 1, 1),
        (33, 70, 2, 3, 33, 17),
        (64, 64, 4, 2, 32, 32),
    ]:
        for additive, masked in itertools.product((False, True), repeat=2):
            yield f"{sizes}{' additive' * additive}{' masked' * masked}", attention_values(sizes, additive, masked)


def attention_values(sizes: tuple[int, ...], additive: bool, masked: bool) -> Values:
    """Causal where nothing is masked."""
    steps, keys, batch, heads, key_dim, value_dim = sizes
    rng = np.random.default_rng(7)
    query, key = normal(rng, steps, batch, heads * key_dim), normal(rng, keys, batch, heads * key_dim)
    value, dy = normal(rng, keys, batch, heads * value_dim), normal(rng, steps, batch, heads * value_dim)
    masks = [rng.random((extent, batch)) < 0.67 if masked else None for extent in (steps, keys)]
    options = attention.Options(heads, 0.5, not masked, *masks)
    weights = normal(rng, key_dim) if additive else None
    inputs = double(query), double(key), double(value), None if weights is None else double(weights), options
    p = attention.probabilities(*inputs[:2], *inputs[3:])
    gradients = attention.backward(*inputs, 1.0, double(dy))
    values: Values = {"query": query, "key": key, "value": value, "additive": weights, "doutput": dy, "heads": heads}
    values |= {"scale": 0.5, "causal": options.causal, "query_mask": masks[0], "key_mask": masks[1], "tolerance": 2e-5}
    values |= {
        f"expected {name}": array for name, array in gradients.arrays().items() if name != "dadditive" or additive
    }
    return values | {"expected output": attention.forward(p, 1.0, inputs[2], heads), "expected probabilities": p}


def layer_norm_cases() -> Iterator[tuple[str, Values]]:
    for rows, width in [(0, 3), (1, 1), (65, 33), (3000, 97)]:
        rng = np.random.default_rng(8)
        x, gamma, beta, dy = normal(rng, rows, width), normal(rng, width), normal(rng, width), normal(rng, rows, width)
        dx, dgamma, dbeta = layer_norm.backward(double(x), double(gamma), 1e-3, double(dy))
        values: Values = {"x": x, "gamma": gamma, "beta": beta, "dy": dy, "epsilon": 1e-3, "tolerance": 1e-5}
        values |= {"expected y": layer_norm.forward(double(x), double(gamma), double(beta), 1e-3)}
        yield f"{rows}x{width}", values | {"expected dx": dx, "expected dgamma": dgamma, "expected dbeta": dbeta}


FAMILIES = {
    "linear": linear_cases,
    "attention": attention_cases,
    "layer_norm": layer_norm_cases,
    "recurrent": recurrent_cases,
    "projection_cross_entropy": projection_cases,
    "loss": loss_cases,
    "optimizer": optimizer_cases,
    "mean": mean_cases,
}


def main(path: str) -> None:
    with Path(path).open("wb") as file:
        file.write(MAGIC)
        for family, cases in FAMILIES.items():
            for name, values in cases():
                for key, value in values.items():
                    if value is not None:
                        file.write(encode(f"{family}/{name}/{key}", value))


if __name__ == "__main__":
    main(sys.argv[1])
