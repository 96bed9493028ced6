"""Bad ids, dtypes, shapes, layouts: the exception one expects, a sentence that names the argument, nothing written."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recurlm import _core
from tests.ops import calls

INT32 = st.integers(-(2**31), 2**31 - 1)


@settings(deadline=None)
@given(ids=st.lists(st.one_of(INT32, st.integers(0, 9)), max_size=20), limit=st.integers(1, 10))
def test_check_ids(ids: list[int], limit: int) -> None:
    bad = [(i, v) for i, v in enumerate(ids) if not 0 <= v < limit]
    array = np.array(ids, np.int32)
    if not bad:
        _core.check_ids(array, limit, "tokens")
        return
    position, value = bad[0]
    with pytest.raises(IndexError, match=rf"tokens\[{position}\].* {value};.* {limit - 1}\b"):
        _core.check_ids(array, limit, "tokens")


def test_position_in_an_array_of_any_rank() -> None:
    ids = np.zeros((2, 3, 4), np.int32)
    ids[1, 2, 0] = 5
    with pytest.raises(IndexError, match=r"x\[1, 2, 0\].* 5;"):
        _core.check_ids(ids, 5, "x")
    with pytest.raises(IndexError, match=r"x\b.* 5;"):
        _core.check_ids(np.array(5, np.int32), 5, "x")
    _core.check_ids(np.zeros((0, 3), np.int32), 5, "x")


@pytest.mark.parametrize("dtype", ["int64", "int16", "uint32", "float32", "bool"])
def test_ids_are_int32(dtype: str) -> None:
    ids: Any = np.zeros(3, dtype)
    table, y = np.ones((4, 2), np.float32), np.full((3, 2), 7.0, np.float32)
    with pytest.raises(TypeError, match=rf"ids.*int32.*{dtype}"):
        _core.embedding_forward(ids, table, y)
    with pytest.raises(TypeError, match=rf"tokens.*int32.*{dtype}"):
        _core.check_ids(ids, 4, "tokens")
    assert (y == 7.0).all()


def make_arguments() -> dict[str, dict[str, Any]]:
    """Valid arguments of every function, by name; outputs hold 7, so that a write shows."""
    rng = np.random.default_rng(1)

    def f(*shape: int) -> Any:
        return rng.uniform(0.1, 0.9, shape).astype(np.float32)

    def out(*shape: int, dtype: type = np.float32) -> Any:
        return np.full(shape, 7, dtype)

    ids = np.array([0, 1, 2], np.int32)
    cell = _core.Cell("lstm", 5, 6)
    weights = {"kernel": f(5, 24), "recurrent_kernel": f(6, 24), "bias": f(24)}
    sequence = {"x": f(3, 2, 5), **weights, "h": out(4, 2, 6), "c": out(4, 2, 6), "saved": out(cell.saved_size(3, 2))}
    sequence |= {"mask": np.ones((3, 2), bool)}
    workspace = _core.Workspace()
    gradients = {"dx": out(3, 5), "dkernel": out(5, 6), "dbias": out(6)}
    linear = {"x": f(3, 5), "kernel": f(5, 6), "bias": f(6)}
    scores = {"log_probs": out(3), "ranks": out(3, dtype=np.int32), "predictions": out(3, dtype=np.int32)}
    state_gradients = {"dy": f(3, 2, 6), "dh": out(2, 6), "dc": out(2, 6), "dx": out(3, 2, 5)}
    weight_gradients = {"dkernel": out(5, 24), "drecurrent_kernel": out(6, 24), "dbias": out(24)}
    return {
        "linear_forward": {**linear, "y": out(3, 6), "workspace": workspace},
        "linear_backward": {"x": f(3, 5), "kernel": f(5, 6), "dy": f(3, 6), **gradients, "workspace": workspace},
        "embedding_forward": {"ids": ids, "table": f(4, 5), "y": out(3, 5)},
        "embedding_backward": {"ids": ids, "dy": f(3, 5), "dtable": out(4, 5)},
        "activation_forward": {"name": "tanh", "x": f(3, 5), "y": out(3, 5)},
        "activation_backward": {"name": "tanh", "y": f(3, 5), "dy": f(3, 5), "dx": out(3, 5)},
        "dropout": {"x": f(3, 5), "y": out(3, 5), "rate": 0.5, "seed": 1, "stream": 2, "step": 3},
        "recurrent_forward": {"cell": cell, **sequence, "workspace": workspace},
        "recurrent_backward": {"cell": cell, **sequence, **state_gradients, **weight_gradients, "workspace": workspace},
        "projection_cross_entropy": {
            **linear,
            "targets": ids,
            "weights": f(3),
            **scores,
            **gradients,
            "workspace": workspace,
        },
        "loss_forward": {"name": "mean_squared_error", "y_true": f(3, 5), "y_pred": f(3, 5), "loss": out(3)},
        "loss_backward": {
            "name": "mean_squared_error",
            "y_true": f(3, 5),
            "y_pred": f(3, 5),
            "weights": f(3),
            "dy": out(3, 5),
        },
        "sparse_categorical_crossentropy_forward": {"targets": ids, "y_pred": f(3, 5), "loss": out(3)},
        "sparse_categorical_crossentropy_backward": {
            "targets": ids,
            "y_pred": f(3, 5),
            "weights": f(3),
            "dy": out(3, 5),
        },
        "softmax_cross_entropy": {
            "logits": f(3, 5),
            "y_true": f(3, 5),
            "weights": f(3),
            "loss": out(3),
            "dlogits": out(3, 5),
        },
        "weighted_sum": {"values": f(3), "weights": f(3)},
    }


ARGUMENTS = [
    (function, name)
    for function, arguments in make_arguments().items()
    for name, value in arguments.items()
    if isinstance(value, np.ndarray)
]


def other_dtype(a: Any) -> Any:
    return a.astype(np.float64)


def one_longer(a: Any) -> Any:
    """The first argument of a function defines extents, so all of them change."""
    return np.zeros(tuple(n + 1 for n in a.shape), a.dtype)


def one_axis_more(a: Any) -> Any:
    return a[..., None, None, None]


def strided(a: Any) -> Any:
    return np.repeat(a, 2, axis=-1)[..., ::2]


def a_list(a: Any) -> Any:
    return a.tolist()


@pytest.mark.parametrize(
    ("spoil", "error"),
    [
        (other_dtype, TypeError),
        (a_list, TypeError),
        (strided, TypeError),
        (one_longer, ValueError),
        (one_axis_more, ValueError),
    ],
    ids=lambda p: p.__name__,
)
@pytest.mark.parametrize(("function", "name"), ARGUMENTS, ids="-".join)
def test_bad_array(function: str, name: str, spoil: Callable[[Any], Any], error: type[Exception]) -> None:
    arguments = make_arguments()[function]
    arguments[name] = spoil(arguments[name])
    # The other array of a pair may be the one that is named as not fitting.
    pattern = rf"\b{name}\b" if error is TypeError else r"\b\w+ must have (shape|rank)"
    with pytest.raises(error, match=pattern):
        getattr(_core, function)(**arguments)
    outputs = [a for n, a in arguments.items() if n != name and isinstance(a, np.ndarray)]
    fresh = [a for n, a in make_arguments()[function].items() if n != name and isinstance(a, np.ndarray)]
    for actual, wanted in zip(outputs, fresh, strict=True):
        np.testing.assert_array_equal(actual, wanted)


@pytest.mark.parametrize("function", make_arguments())
def test_the_arguments_above_are_good(function: str) -> None:
    getattr(_core, function)(**make_arguments()[function])


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("kind", {"kind": "transformer", "input_dim": 3, "units": 4}),
        ("input_dim", {"kind": "lstm", "input_dim": 0, "units": 4}),
        ("units", {"kind": "gru", "input_dim": 3, "units": -1}),
        ("activation", {"kind": "rnn", "input_dim": 3, "units": 4, "activation": "swish"}),
        ("activation", {"kind": "lstm", "input_dim": 3, "units": 4, "activation": "relu"}),
    ],
)
def test_bad_cell(name: str, arguments: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=name):
        _core.Cell(**arguments)


def test_a_cell_and_its_state_c_go_together() -> None:
    arguments = make_arguments()
    for function in ("recurrent_forward", "recurrent_backward"):
        with pytest.raises(ValueError, match=r"\bc\b.*lstm"):
            getattr(_core, function)(**{**arguments[function], "c": None})
    gru = _core.Cell("gru", 5, 6, reset_after=False)
    extra = np.zeros((2, 1, 6), np.float32)
    with pytest.raises(ValueError, match=r"\bc\b.*lstm"):
        _core.recurrent_forward(
            gru,
            np.zeros((1, 1, 5), np.float32),
            np.zeros((5, 18), np.float32),
            np.zeros((6, 18), np.float32),
            None,
            extra.copy(),
            extra,
            calls.unwritten(gru.saved_size(1, 1)),
            None,
            _core.Workspace(),
        )
