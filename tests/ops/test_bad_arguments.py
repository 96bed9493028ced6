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


def inputs(*shape: int) -> Any:
    return np.random.default_rng(1).uniform(0.1, 0.9, shape).astype(np.float32)


def output(*shape: int, dtype: type = np.float32) -> Any:
    """Holds 7, so that a write shows."""
    return np.full(shape, 7, dtype)


def recurrent_arguments() -> dict[str, dict[str, Any]]:
    cell = _core.Cell("lstm", 5, 6)
    forward = {"cell": cell, "x": inputs(3, 2, 5), "kernel": inputs(5, 24), "recurrent_kernel": inputs(6, 24)}
    forward |= {"bias": inputs(24), "h": output(4, 2, 6), "c": output(4, 2, 6), "saved": output(cell.saved_size(3, 2))}
    forward |= {"mask": np.ones((3, 2), bool), "workspace": _core.Workspace()}
    forward |= {"state_factors": inputs(2, 6), "dropped_h": output(3, 2, 6)}
    backward = {**forward, "dy": inputs(3, 2, 6), "dh": output(2, 6), "dc": output(2, 6), "dx": output(3, 2, 5)}
    backward |= {"dkernel": output(5, 24), "drecurrent_kernel": output(6, 24), "dbias": output(24)}
    return {"recurrent_forward": forward, "recurrent_backward": backward}


def row_arguments() -> dict[str, dict[str, Any]]:
    workspace, ids = _core.Workspace(), np.array([0, 1, 2], np.int32)
    linear = {"x": inputs(3, 5), "kernel": inputs(5, 6), "workspace": workspace}
    gradients = {"dx": output(3, 5), "dkernel": output(5, 6), "dbias": output(6)}
    return {
        "linear_forward": {**linear, "bias": inputs(6), "y": output(3, 6)},
        "linear_backward": {**linear, "dy": inputs(3, 6), **gradients},
        "embedding_forward": {"ids": ids, "table": inputs(4, 5), "y": output(3, 5)},
        "embedding_backward": {"ids": ids, "dy": inputs(3, 5), "dtable": output(4, 5)},
        "activation_forward": {"name": "tanh", "x": inputs(3, 5), "y": output(3, 5)},
        "activation_backward": {"name": "tanh", "y": inputs(3, 5), "dy": inputs(3, 5), "dx": output(3, 5)},
        "dropout": {"x": inputs(3, 5), "y": output(3, 5), "rate": 0.5, "seed": 1, "stream": 2, "step": 3},
    }


def loss_arguments() -> dict[str, dict[str, Any]]:
    ids = {"targets": np.array([0, 1, 2], np.int32)}
    fused = {"x": inputs(3, 5), "kernel": inputs(5, 6), "bias": inputs(6), **ids, "weights": inputs(3)}
    fused |= {"log_probs": output(3), "ranks": output(3, dtype=np.int32), "predictions": output(3, dtype=np.int32)}
    fused |= {"dx": output(3, 5), "dkernel": output(5, 6), "dbias": output(6), "workspace": _core.Workspace()}
    true, predicted, loss = {"y_true": inputs(3, 5)}, {"y_pred": inputs(3, 5)}, {"loss": output(3)}
    name = {"name": "mean_squared_error"}
    weighted = {"weights": inputs(3)}
    return {
        "projection_cross_entropy": fused,
        "loss_forward": {**name, **true, **predicted, **loss},
        "loss_backward": {**name, **true, **predicted, **weighted, "dy": output(3, 5)},
        "sparse_categorical_crossentropy_forward": {**ids, **predicted, **loss},
        "sparse_categorical_crossentropy_backward": {**ids, **predicted, **weighted, "dy": output(3, 5)},
        "softmax_cross_entropy": {"logits": inputs(3, 5), **true, **weighted, **loss, "dlogits": output(3, 5)},
        "weighted_sum": {"values": inputs(3), **weighted},
    }


def attention_arguments() -> dict[str, dict[str, Any]]:
    arrays = {"query": inputs(3, 2, 4), "key": inputs(5, 2, 4), "value": inputs(5, 2, 6)}
    how = {"workspace": _core.Workspace(), "heads": 2, "additive": inputs(2), "dropout": 0.5}
    how |= {"query_mask": np.ones((3, 2), bool), "key_mask": np.ones((5, 2), bool)}
    forward = {**arrays, **how, "output": output(3, 2, 6), "probabilities": output(2, 2, 3, 5)}
    backward = {**arrays, **how, "probabilities": inputs(2, 2, 3, 5), "doutput": inputs(3, 2, 6)}
    backward |= {"dquery": output(3, 2, 4), "dkey": output(5, 2, 4), "dvalue": output(5, 2, 6), "dadditive": output(2)}
    rows = {"x": inputs(3, 5), "gamma": inputs(5)}
    normal = {**rows, "beta": inputs(5), "epsilon": 1e-3, "y": output(3, 5), "statistics": output(3, 2)}
    gradients = {**rows, "statistics": inputs(3, 2), "dy": inputs(3, 5), "dx": output(3, 5), "dgamma": output(5)}
    gradients |= {"dbeta": output(5), "workspace": _core.Workspace()}
    return {
        "attention_forward": forward,
        "attention_backward": backward,
        "layer_norm_forward": normal,
        "layer_norm_backward": gradients,
    }


def make_arguments() -> dict[str, dict[str, Any]]:
    """Valid arguments of every function, by name."""
    return {**recurrent_arguments(), **row_arguments(), **loss_arguments(), **attention_arguments()}


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
        ("activation", {"kind": "rnn", "input_dim": 3, "units": 4, "activation": "gelu"}),
        ("activation", {"kind": "lstm", "input_dim": 3, "units": 4, "activation": "relu"}),
    ],
)
def test_bad_cell(name: str, arguments: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=name):
        _core.Cell(**arguments)


@pytest.mark.parametrize(
    ("name", "changed"),
    [
        ("heads", {"heads": 0}),
        ("query", {"heads": 3}),
        ("value", {"value": inputs(5, 2, 5)}),
        ("dropout", {"dropout": 1.0}),
        ("dropout", {"dropout": float("nan")}),
        ("key", {"key": inputs(5, 2, 6)}),
        ("additive", {"additive": inputs(4)}),
    ],
)
def test_bad_attention(name: str, changed: dict[str, Any]) -> None:
    for function in ("attention_forward", "attention_backward"):
        with pytest.raises(ValueError, match=rf"\b{name}\b"):
            getattr(_core, function)(**{**attention_arguments()[function], **changed})


def test_dadditive_needs_additive() -> None:
    with pytest.raises(ValueError, match="dadditive"):
        _core.attention_backward(**{**attention_arguments()["attention_backward"], "additive": None})


def test_bad_epsilon() -> None:
    with pytest.raises(ValueError, match="epsilon"):
        _core.layer_norm_forward(**{**attention_arguments()["layer_norm_forward"], "epsilon": -1.0})


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
