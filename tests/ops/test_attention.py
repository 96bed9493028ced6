"""Attention: against the equations, whatever the sizes, masks and threads; the same bits for a row alone."""

from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import pytest

from recurlm import _core
from tests.ops import calls
from tests.reference import Mask, attention, numeric
from tests.reference.attention import Options
from tests.reference.cases import Float32, double, normal

# T, S, B, heads, key_dim, value_dim: blocks of 32 queries and panels of 32 keys, met and missed.
SIZES = [
    (0, 3, 2, 1, 4, 4),
    (3, 0, 2, 1, 4, 4),
    (2, 3, 0, 1, 4, 4),
    (1, 1, 1, 1, 1, 1),
    (5, 7, 3, 2, 3, 5),
    (32, 32, 2, 1, 16, 32),
    (33, 70, 2, 3, 33, 17),
    (64, 64, 3, 4, 32, 32),
    (100, 65, 1, 2, 40, 70),
]
FORMS: dict[str, Options] = {
    "plain": Options(scale=0.4),
    "causal": Options(causal=True),
    "masked": Options(scale=0.7, query_mask=np.ones(1, bool), key_mask=np.ones(1, bool)),
    "causal masked": Options(causal=True, key_mask=np.ones(1, bool)),
}


@dataclass(frozen=True)
class Case:
    query: Float32
    key: Float32
    value: Float32
    additive: Float32 | None
    dy: Float32
    options: Options
    dropout: float = 0.0

    @property
    def how(self) -> dict[str, Any]:
        dropout = {"dropout": self.dropout, "seed": 1, "stream": 2, "step": 3}
        return {**asdict(self.options), **dropout, "additive": self.additive}


def make_case(sizes: tuple[int, ...], form: str, additive: bool = False, dropout: float = 0.0) -> Case:
    """Masks keep two of three; the first row of a batch has no key at all where there are masks."""
    steps, keys, batch, heads, key_dim, value_dim = sizes
    rng = np.random.default_rng(1)

    def mask(extent: int) -> Mask:
        made = rng.random((extent, batch)) < 0.67
        made[:, :1] = False
        return made

    options = replace(FORMS[form], heads=heads)
    options = replace(
        options,
        query_mask=None if options.query_mask is None else mask(steps),
        key_mask=None if options.key_mask is None else mask(keys),
    )
    return Case(
        normal(rng, steps, batch, heads * key_dim),
        normal(rng, keys, batch, heads * key_dim),
        normal(rng, keys, batch, heads * value_dim),
        normal(rng, key_dim) if additive else None,
        normal(rng, steps, batch, heads * value_dim),
        options,
        dropout,
    )


def run(case: Case, workspace: _core.Workspace | None = None) -> dict[str, Float32]:
    """Output, probabilities and gradients."""
    workspace = workspace or _core.Workspace()
    (steps, batch, _), keys = case.query.shape, len(case.key)
    p, y = calls.unwritten(batch, case.options.heads, steps, keys), calls.unwritten(*case.dy.shape)
    inputs = case.query, case.key, case.value
    _core.attention_forward(*inputs, y, p, workspace, **case.how)
    kept = p.copy()
    gradients = {f"d{n}": calls.unwritten(*a.shape) for n, a in zip(("query", "key", "value"), inputs, strict=True)}
    dadditive = None if case.additive is None else calls.unwritten(*case.additive.shape)
    _core.attention_backward(*inputs, p, case.dy, *gradients.values(), workspace, dadditive=dadditive, **case.how)
    np.testing.assert_array_equal(p, kept)
    return {"y": y, "p": p, **gradients} | ({} if dadditive is None else {"dadditive": dadditive})


def factors(case: Case) -> Float32:
    """Dropout's, as the op of that name draws them for the same rows."""
    (steps, batch, _), keys = case.query.shape, len(case.key)
    rows = batch * case.options.heads * steps
    drawn = np.ones((rows, keys), np.float32)
    _core.dropout(drawn, drawn, case.dropout, 1, 2, 3)
    return drawn.reshape(batch, case.options.heads, steps, keys)


def check(case: Case) -> None:
    actual = run(case)
    query, key, value, dy = (double(a) for a in (case.query, case.key, case.value, case.dy))
    additive = None if case.additive is None else double(case.additive)
    if not len(key):
        assert not actual["y"].any()
        return
    p = attention.probabilities(query, key, additive, case.options)
    drawn = double(factors(case))
    gradients = attention.backward(query, key, value, additive, case.options, drawn, dy).arrays()
    # Scores reach 20 and are good to some units in the last place; each probability is as good, relatively.
    calls.assert_close(actual["p"], p, 1e-5)
    calls.assert_close(actual["y"], attention.forward(p, drawn, value, case.options.heads), 1e-5)
    for name in actual.keys() & gradients.keys():
        calls.assert_close(actual[name], gradients[name], 2e-5, name)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_dot_product(sizes: tuple[int, ...], form: str, isa: str, threads: int) -> None:
    check(make_case(sizes, form))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("sizes", SIZES[:7], ids=str)
def test_additive(sizes: tuple[int, ...], form: str, isa: str, threads: int) -> None:
    check(make_case(sizes, form, additive=True))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("additive", [False, True], ids=["dot", "additive"])
def test_dropout(additive: bool, form: str, isa: str, threads: int) -> None:
    check(make_case((33, 70, 2, 3, 33, 17), form, additive, dropout=0.4))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("additive", [False, True], ids=["dot", "additive"])
def test_gradients_of_the_reference(additive: bool, form: str) -> None:
    case = make_case((4, 5, 2, 2, 3, 2), form, additive)
    query, key, value, dy = inputs = [double(a) for a in (case.query, case.key, case.value, case.dy)]
    weights = double(case.additive) if case.additive is not None else None

    def total() -> float:
        p = attention.probabilities(query, key, weights, case.options)
        return float((dy * attention.forward(p, 1.0, value, 2)).sum())

    expected = attention.backward(query, key, value, weights, case.options, 1.0, dy)
    moved = [*inputs[:3], *([] if weights is None else [weights])]
    for array, gradient in zip(moved, expected.arrays().values(), strict=False):
        np.testing.assert_allclose(gradient, numeric.gradient(total, array), rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("additive", [False, True], ids=["dot", "additive"])
def test_a_batch_equals_its_rows(additive: bool, form: str, isa: str, threads: int) -> None:
    case = make_case((65, 65, 5, 3, 33, 17), form, additive)
    whole = run(case)
    for b in range(5):
        row = slice(b, b + 1)

        def of_row(a: Any, row: slice = row) -> Any:
            return None if a is None else np.ascontiguousarray(a[:, row])

        masks = {name: of_row(getattr(case.options, name)) for name in ("query_mask", "key_mask")}
        arrays = {name: of_row(getattr(case, name)) for name in ("query", "key", "value", "dy")}
        alone = run(replace(case, **arrays, options=replace(case.options, **masks)))
        np.testing.assert_array_equal(alone["p"], whole["p"][row])
        for name in ("y", "dquery", "dkey", "dvalue"):
            np.testing.assert_array_equal(alone[name], whole[name][:, row], err_msg=name)


@pytest.mark.parametrize("additive", [False, True], ids=["dot", "additive"])
def test_threads_give_the_same_bits(additive: bool, isa: str) -> None:
    case = make_case((65, 70, 5, 3, 33, 17), "causal masked", additive, dropout=0.3)
    before = _core.get_num_threads()
    results = []
    for count in (1, 2, 7):
        _core.set_num_threads(count)
        results.append(run(case))
    _core.set_num_threads(before)
    for other in results[1:]:
        for name, array in other.items():
            np.testing.assert_array_equal(array, results[0][name], err_msg=name)


def test_the_future_does_not_reach_the_past(isa: str) -> None:
    """To the bit: what follows a position may be anything."""
    case = make_case((70, 70, 2, 2, 8, 8), "causal")
    later = normal(np.random.default_rng(2), *case.key[40:].shape)
    key, value = case.key.copy(), case.value.copy()
    key[40:], value[40:] = later, later
    np.testing.assert_array_equal(run(case)["y"][:40], run(replace(case, key=key, value=value))["y"][:40])


def test_the_workspace_grows_once(isa: str, threads: int) -> None:
    workspace = _core.Workspace()
    shapes = [make_case((64, 70, 5, 3, 33, 17), "causal masked", additive, dropout=0.1) for additive in (False, True)]
    expected = [run(case, workspace) for case in shapes]
    nbytes, growths = workspace.nbytes, workspace.growths
    assert nbytes > 0
    for case, before in zip([*shapes, shapes[0]], [*expected, expected[0]], strict=True):
        for name, array in run(case, workspace).items():
            np.testing.assert_array_equal(array, before[name], err_msg=name)
    assert (workspace.nbytes, workspace.growths) == (nbytes, growths)
