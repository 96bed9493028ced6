"""The fused loss against the plain one, including what it reports for each row."""

import functools

import numpy as np
import pytest

from recurlm import _core
from tests.ops import calls
from tests.reference import projection_cross_entropy
from tests.reference.cases import Float32, Int32, double, normal

# Logits here are sums of 5 products, exp is good to 2^-22.5, and a log-sum adds up to 1000 of them: probabilities are
# good to a few units of 1e-7, log-probabilities to that times the 15 to which they go.
PROBABILITIES = 2e-6
# A gradient is one chain of up to 1000 sums, most of them far smaller than the one term of the target: a rounding each.
GRADIENTS = 1e-5
WIDTH = 5


@functools.cache
def inputs(rows: int, vocabulary: int) -> tuple[Float32, Float32, Float32, Int32, Float32]:
    """x (R, D), kernel (D, V), bias (V,), targets (R,), weights (R,) of which every third is zero."""
    rng = np.random.default_rng(rows * 1009 + vocabulary)
    weights = rng.uniform(0.1, 1.0, rows).astype(np.float32)
    weights[::3] = 0.0
    targets = rng.integers(0, vocabulary, rows, dtype=np.int32)
    return normal(rng, rows, WIDTH), normal(rng, WIDTH, vocabulary), normal(rng, vocabulary), targets, weights


@functools.cache
def reference(
    rows: int, vocabulary: int, biased: bool, weighted: bool, smoothing: float = 0.0
) -> projection_cross_entropy.Result:
    x, kernel, bias, targets, weights = inputs(rows, vocabulary)
    w = double(weights) if weighted else np.ones(rows)
    b = double(bias) if biased else None
    return projection_cross_entropy.forward_backward(double(x), double(kernel), b, targets, w, smoothing)


def assert_agrees(
    actual: calls.CrossEntropy, expected: projection_cross_entropy.Result, targets: Int32, biased: bool
) -> None:
    calls.assert_close(actual.log_probs, expected.log_probs, PROBABILITIES, "log_probs")
    assert actual.loss == pytest.approx(expected.loss, rel=PROBABILITIES, abs=1e-6)
    for name in ["dx", "dkernel", "dbias"] if biased else ["dx", "dkernel"]:
        calls.assert_close(getattr(actual, name), getattr(expected, name), GRADIENTS, name)
    # Logits closer than their rounding may change places, and then so may ranks and the arg max.
    rows = np.arange(len(targets))
    padding = expected.ranks == -1
    assert (actual.ranks[padding] == -1).all()
    assert (actual.predictions[padding] == -1).all()
    close = 1e-5
    margin = expected.logits - expected.logits[rows, np.where(padding, 0, targets)][:, None]
    assert (((margin > close).sum(axis=1) <= actual.ranks) | padding).all()
    assert ((actual.ranks <= (margin > -close).sum(axis=1)) | padding).all()
    best = expected.logits[rows, np.where(padding, 0, actual.predictions)]
    assert ((best >= expected.logits.max(axis=1, initial=-np.inf) - close) | padding).all()


@pytest.mark.parametrize("weighted", [True, False], ids=["weights", "no-weights"])
@pytest.mark.parametrize(("biased", "transposed"), [(True, False), (False, True), (True, True)])
@pytest.mark.parametrize("vocabulary", [1, 2, 65, 257, 1000])
@pytest.mark.parametrize("rows", [0, 1, 13, 300])
def test_agrees_with_reference(
    rows: int, vocabulary: int, biased: bool, transposed: bool, weighted: bool, isa: str, threads: int
) -> None:
    x, kernel, bias, targets, weights = inputs(rows, vocabulary)
    actual = calls.projection_cross_entropy(
        x,
        np.ascontiguousarray(kernel.T) if transposed else kernel,
        bias if biased else None,
        targets,
        weights if weighted else None,
        transposed=transposed,
    )
    expected = reference(rows, vocabulary, biased, weighted)
    if transposed:
        expected = expected._replace(dkernel=expected.dkernel.T)
    assert_agrees(actual, expected, targets, biased)


@pytest.mark.parametrize("smoothing", [0.1, 1.0])
@pytest.mark.parametrize(("rows", "vocabulary"), [(0, 5), (1, 1), (13, 65), (300, 257), (1099, 600)])
def test_label_smoothing(rows: int, vocabulary: int, smoothing: float, isa: str, threads: int) -> None:
    x, kernel, bias, targets, weights = inputs(rows, vocabulary)
    actual = calls.projection_cross_entropy(x, kernel, bias, targets, weights, label_smoothing=smoothing)
    assert_agrees(actual, reference(rows, vocabulary, True, True, smoothing), targets, True)


@pytest.mark.parametrize("transposed", [False, True], ids=["kernel", "transposed"])
def test_several_chunks(transposed: bool, isa: str, threads: int) -> None:
    """Logits exist for at most 512 rows of this vocabulary at a time; the last chunk is the shortest."""
    x, kernel, bias, targets, weights = inputs(1099, 600)
    stored = np.ascontiguousarray(kernel.T) if transposed else kernel
    actual = calls.projection_cross_entropy(x, stored, bias, targets, weights, transposed=transposed)
    expected = reference(1099, 600, True, True)
    if transposed:
        expected = expected._replace(dkernel=expected.dkernel.T)
    assert_agrees(actual, expected, targets, True)


def test_padding_is_not_looked_at(isa: str) -> None:
    """The target of a row of weight 0 may be any number, and what is not finite in its x goes nowhere."""
    x, kernel, bias, targets, weights = (a.copy() for a in inputs(13, 65))
    clean = calls.projection_cross_entropy(x, kernel, bias, targets, weights)
    targets[::3] = [-1, 65, 2**31 - 1, -(2**31), -100]
    padded = calls.projection_cross_entropy(x, kernel, bias, targets, weights)
    assert padded.loss == clean.loss
    for name in ["log_probs", "ranks", "predictions", "dx", "dkernel", "dbias"]:
        np.testing.assert_array_equal(getattr(padded, name), getattr(clean, name), err_msg=name)
    assert not padded.dx[::3].any()


@pytest.mark.parametrize("bad", [-1, 65, 2**31 - 1])
def test_bad_target_is_named_and_nothing_is_written(bad: int) -> None:
    x, kernel, bias, targets, _ = (a.copy() for a in inputs(13, 65))
    targets[4] = bad
    log_probs, ranks, predictions = np.full(13, 7.0, np.float32), np.full(13, 7, np.int32), np.full(13, 7, np.int32)
    dx, dkernel, dbias = (np.full(a.shape, 7.0, np.float32) for a in (x, kernel, bias))
    with pytest.raises(IndexError, match=rf"targets\b.*\b4\b.*{bad}"):
        _core.projection_cross_entropy(
            x, kernel, bias, targets, None, log_probs, ranks, predictions, dx, dkernel, dbias, _core.Workspace()
        )
    for array in [log_probs, ranks, predictions, dx, dkernel, dbias]:
        assert (array == 7).all()


@pytest.mark.parametrize("large", [1e2, 1e4, 1e30])
def test_large_logits(large: float, isa: str) -> None:
    x = np.ones((3, 1), np.float32)
    kernel = np.array([[1.0, -1.0] + [0.0] * 63], np.float32) * np.float32(large)
    targets = np.array([0, 1, 5], np.int32)
    actual = calls.projection_cross_entropy(x, kernel, np.zeros(65, np.float32), targets, None)
    np.testing.assert_allclose(actual.log_probs, [0.0, -2 * large, -large], rtol=1e-6)
    np.testing.assert_array_equal(actual.ranks, [0, 64, 4])  # entries 2, 3, 4 equal entry 5 and stand before it
    np.testing.assert_array_equal(actual.predictions, [0, 0, 0])
    expected = np.zeros(65, np.float32)
    expected[[0, 1, 5]] = [2.0, -1.0, -1.0]
    np.testing.assert_allclose(actual.dbias, expected, atol=1e-6)
    assert np.isfinite(actual.dx).all()
    assert np.isfinite(actual.dkernel).all()


def test_large_random_logits(isa: str) -> None:
    x, kernel, bias, targets, _ = inputs(13, 257)
    x = x * np.float32(3e3)  # logits of about ±1e4, whose own rounding is 1e4 * 2^-24 a product
    actual = calls.projection_cross_entropy(x, kernel, bias, targets, None)
    expected = projection_cross_entropy.forward_backward(double(x), double(kernel), double(bias), targets, np.ones(13))
    calls.assert_close(actual.log_probs, expected.log_probs, 1e-6)
    for name in ["dx", "dkernel", "dbias"]:
        assert np.isfinite(getattr(actual, name)).all()


def test_ties_go_to_the_first(isa: str) -> None:
    """So rank 0 and a correct prediction are the same thing, ties or not."""
    x, kernel = np.ones((2, 1), np.float32), np.zeros((1, 70), np.float32)
    kernel[0, [3, 40, 69]] = 2.0
    targets = np.array([69, 0], np.int32)
    actual = calls.projection_cross_entropy(x, kernel, None, targets, None)
    expected = projection_cross_entropy.forward_backward(double(x), double(kernel), None, targets, np.ones(2))
    np.testing.assert_array_equal(actual.ranks, [2, 3])
    np.testing.assert_array_equal(actual.ranks, expected.ranks)
    np.testing.assert_array_equal(actual.predictions, [3, 3])


def test_not_a_number_shows(isa: str) -> None:
    """A model that has diverged must not report a finite loss."""
    for position in [(0, 0), (4, 64)]:
        x, kernel, bias, targets, _ = (a.copy() for a in inputs(13, 65))
        kernel[position] = np.nan
        assert np.isnan(calls.projection_cross_entropy(x, kernel, bias, targets, None).loss)


@pytest.mark.parametrize("transposed", [False, True], ids=["kernel", "transposed"])
def test_accumulate_and_optional_gradients(transposed: bool, isa: str) -> None:
    x, kernel, bias, targets, weights = inputs(13, 65)
    if transposed:
        kernel = np.ascontiguousarray(kernel.T)
    once = calls.projection_cross_entropy(x, kernel, bias, targets, weights, transposed=transposed)
    dkernel, dbias = np.ones_like(kernel), np.ones_like(bias)
    workspace, log_probs = _core.Workspace(), calls.unwritten(13)
    ranks, predictions = np.empty(13, np.int32), np.empty(13, np.int32)

    def run(dkernel: Float32 | None, dbias: Float32 | None, accumulate: bool) -> float:
        return _core.projection_cross_entropy(
            x,
            kernel,
            bias,
            targets,
            weights,
            log_probs,
            ranks,
            predictions,
            None,
            dkernel,
            dbias,
            workspace,
            transposed=transposed,
            accumulate=accumulate,
        )

    assert run(dkernel, dbias, accumulate=True) == once.loss
    calls.assert_close(dkernel, 1.0 + double(once.dkernel), 1e-6)
    calls.assert_close(dbias, 1.0 + double(once.dbias), 1e-6)
    assert run(None, None, accumulate=False) == once.loss
    np.testing.assert_array_equal(log_probs, once.log_probs)


def test_memory_does_not_grow_with_tokens_times_vocabulary() -> None:
    rng = np.random.default_rng(1)
    rows, vocabulary = 8192, 1000
    x, kernel = normal(rng, rows, 4), normal(rng, 4, vocabulary)
    workspace = _core.Workspace()
    targets = rng.integers(0, vocabulary, rows, dtype=np.int32)
    calls.projection_cross_entropy(x, kernel, None, targets, None, workspace=workspace)
    logits_nbytes = rows * vocabulary * 4
    assert workspace.nbytes < logits_nbytes / 4
