"""PackedModel in float32, bfloat16 and int8 against the float64 reference of what these compute; the table that stands
for the first layer's product; weights and activations that are no numbers; arguments that do not fit."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from recurlm import _core
from tests.ops import packed
from tests.ops.packed import MIXED, PRECISIONS, Shape
from tests.reference import precision, softmax
from tests.reference.cases import CellSpec, Float32

LSTM, GRU, RNN = CellSpec("lstm"), CellSpec("gru"), CellSpec("rnn")
RESET_BEFORE, RELU, LINEAR = (
    CellSpec("gru", reset_after=False),
    CellSpec("rnn", activation="relu"),
    CellSpec("rnn", activation="linear"),
)

# Depths that are no multiple of 2 or 4, and vocabularies on both sides of a block of 256 classes.
SHAPES = {
    "lstm": Shape((LSTM,), 7, 33, 300),
    "gru": Shape((GRU,), 6, 5, 257),
    "gru-reset-before": Shape((RESET_BEFORE,), 3, 21, 23),
    "rnn": Shape((RNN,), 5, 17, 1),
    "rnn-relu": Shape((RELU,), 9, 18, 257),
    "stacked": Shape((LSTM, GRU, RNN, LSTM), 5, 11, 33),
}
ALL_PRECISIONS = {name: (name,) for name in PRECISIONS} | {"mixed": MIXED}

# Log-probabilities were measured to be off by 3e-7 of the largest in their row; a weight of int8 that is off by one, or
# an activation, moves them by 1e-4 and more.
CLOSE = 3e-6


@pytest.mark.parametrize("form", ["kernel", "transposed", "tied"])
@pytest.mark.parametrize("precisions", ALL_PRECISIONS.values(), ids=ALL_PRECISIONS.keys())
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
def test_log_probs(shape: Shape, precisions: tuple[str, ...], form: str, isa: str, threads: int) -> None:
    shape = replace(shape, precisions=precisions, form=form, biased=form != "transposed")
    built, texts, expected = packed.clear(shape, (6, 0, 1, 9, 4))
    model = _core.PackedModel(**built.arguments)  # packed by this instruction set
    packed.assert_scores(packed.score(model, texts), texts, expected, CLOSE)


@pytest.mark.parametrize("form", ["kernel", "tied"])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
def test_bfloat16_has_the_bits_of_float32(shape: Shape, form: str, isa: str, threads: int) -> None:
    """Of the same values, since nothing but how they are stored differs: the same chains of the same products."""
    arguments = packed.made(replace(shape, precisions=("bfloat16",), form=form)).arguments

    def widened(stored: Any) -> Any:
        bits = isinstance(stored, np.ndarray) and stored.dtype == np.uint16
        return precision.from_bfloat16(stored).astype(np.float32) if bits else stored

    cells = [tuple(widened(part) for part in cell) for cell in arguments["cells"]]
    wide = {name: widened(value) for name, value in arguments.items()} | {"cells": cells}
    texts = packed.make_texts(shape, (9, 0, 40, 1), 1)
    narrow_scores, wide_scores = (packed.score(_core.PackedModel(**each), texts) for each in (arguments, wide))
    packed.assert_equal(narrow_scores, wide_scores)


@pytest.mark.parametrize("kind", PRECISIONS[:2])
def test_a_depth_of_several_blocks(kind: str, isa: str) -> None:
    """More than 1,024 products to a sum, an odd number of them: their roundings in a row of 1,031 activations."""
    shape = Shape((RNN,), 5, 1031, 33, precisions=(kind,))
    built, texts = packed.made(shape), packed.make_texts(shape, (2, 3), 1)
    packed.assert_scores(packed.score(built.model, texts), texts, built.expected(texts, 0), 1e-5)


def integer_rows(rng: np.random.Generator, depth: int) -> Float32:
    """Activations whose scale is exactly 1: each row has a ±127. Extremes of every sign, where pairs of products would
    saturate 16 bits first; halves, to be rounded to even; a row of zeros and one of hardly anything, which counts as 0.
    """
    signs = np.where(rng.random((2, depth)) < 0.5, 127.0, -127.0)
    halves = rng.integers(-254, 255, (5, depth)) / 2
    halves[:, rng.integers(depth)] = -127.0
    ones = np.ones((1, depth))
    return np.concatenate([signs, 127 * ones, -127 * ones, halves, 0 * ones, 1e-35 * ones]).astype(np.float32)


@pytest.mark.parametrize("place", ["kernel", "projection"])
@pytest.mark.parametrize("depth", [1, 2, 3, 4, 5, 15, 16, 17, 33, 66, 1031])
def test_integer_products_are_exact(depth: int, place: str, isa: str) -> None:
    """Sums are integers below 2²⁴ and scales are powers of two, so that nothing is rounded before the softmax. Units of
    2⁻²⁰ make logits of at most 16, which float32 log-probabilities tell apart by 1e-6: one activation that is off by
    one makes a difference of 127 such units."""
    rng = np.random.default_rng(depth)
    x = integer_rows(rng, depth)
    rows, classes = len(x), 70
    q = rng.integers(-127, 128, (depth, classes)).astype(np.int8)
    q[:, 1::3] = np.where(rng.random((depth, q[:, 1::3].shape[1])) < 0.5, 127, -127)
    q[:, 64], q[:, 69] = 127, -127
    narrow = q, np.full(classes, 2.0**-20, np.float32)
    identity, zero = np.eye(depth if place == "projection" else classes, dtype=np.float32), np.zeros((1, 1), np.float32)
    units = len(identity)
    cell = _core.Cell("rnn", depth, units, activation="linear")
    kernel, projection = (narrow, identity) if place == "kernel" else (identity, narrow)
    embedding = np.concatenate([x, np.zeros((classes - rows, depth), np.float32)])  # ids are those of classes too
    layer = (cell, kernel, np.broadcast_to(zero, (units, units)).copy(), None)
    model = _core.PackedModel(embedding, [layer], projection, None)
    expected = softmax.log_softmax(precision.quantise_rows(x.astype(np.float64)) @ (q * 2.0**-20))
    texts = [np.array([r, v], np.int32) for r in range(rows) for v in range(classes)]
    alone = [np.array([v], np.int32) for v in range(classes)]
    together = np.array([log_probs[1] for log_probs, _ in packed.score(model, texts)]).reshape(rows, classes)
    assert np.abs(together - expected).max() <= 3e-6
    for r in range(rows):  # and a row at a time, which meets several panels at once
        one = np.array([log_probs[0] for log_probs, _ in packed.score(model, alone, r)])
        np.testing.assert_array_equal(one, together[r])


@pytest.mark.parametrize("kind", PRECISIONS)
def test_any_number_of_threads(kind: str, isa: str) -> None:
    """A model large enough for its work to be divided, by texts or, where these are few, within each.

    In int8 some of its 60,000 activations are so close to a half that the core may find another integer than the
    reference: one such was measured to move log-probabilities, of up to 40, by 2e-2."""
    shape = Shape((LSTM,), 64, 130, 700, precisions=(kind,))
    built = packed.made(shape)
    model = _core.PackedModel(**built.arguments)
    prompts = packed.make_texts(shape, [1 + s % 4 for s in range(40)], 3)
    before = _core.get_num_threads()
    for lengths in ([5] * 40, [9] * 10):
        texts = packed.make_texts(shape, lengths, 2)
        results, drawn = [], []
        for threads in (1, 2, 7):
            _core.set_num_threads(threads)
            results.append(packed.score(model, texts))
            drawn.append(model.generate(model.begin(prompts, 1), 4, _core.Sampling())[0])
        _core.set_num_threads(before)
        packed.assert_scores(results[0], texts, built.expected(texts, 0), 1e-3 if kind == "int8" else CLOSE)
        for other, other_drawn in zip(results[1:], drawn[1:], strict=True):
            packed.assert_equal(other, results[0])
            np.testing.assert_array_equal(other_drawn, drawn[0])


@pytest.mark.parametrize("kind", PRECISIONS)
def test_a_model_keeps_its_own_weights(kind: str) -> None:
    built = packed.make(Shape((GRU,), 6, 5, 23, form="tied", precisions=(kind,)))
    texts = packed.make_texts(Shape((GRU,), 6, 5, 23), (4, 3), 1)
    before = packed.score(built.model, texts)
    arrays = [built.arguments["embedding"], *built.arguments["cells"][0][1:3]]
    for array in arrays:
        for part in array if isinstance(array, tuple) else (array,):
            part[:] = 1
    built.arguments["bias"][:] = 9
    packed.assert_equal(packed.score(built.model, texts), before)


# The table of the first layer ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("precisions", ALL_PRECISIONS.values(), ids=ALL_PRECISIONS.keys())
@pytest.mark.parametrize("spec", [LSTM, GRU, RESET_BEFORE, RNN], ids=str)
def test_a_table_gives_the_same_bits_as_the_product(spec: CellSpec, precisions: tuple[str, ...], isa: str) -> None:
    """Rows that no text names make the table larger than the 8 MB up to which there is one."""
    shape = Shape((spec, LSTM), 6, 33, 300, precisions=precisions)
    arguments = packed.made(shape).arguments
    missing = 2**23 // (4 * spec.gates * shape.units) + 1
    embedding = arguments["embedding"]
    if isinstance(embedding, tuple):
        padded: Any = tuple(np.concatenate([a, np.zeros((missing, *a.shape[1:]), a.dtype)]) for a in embedding)
    else:
        padded = np.concatenate([embedding, np.zeros((missing, shape.width), embedding.dtype)])
    with_table = _core.PackedModel(**arguments)
    without = _core.PackedModel(**arguments | {"embedding": padded})
    kernel, row = 4 * 6 * spec.gates * 33, 4 * spec.gates * 33  # in float32; a step reads the one or the other
    assert kernel / 4 - row < without.read_bytes - with_table.read_bytes
    texts = packed.make_texts(shape, (30, 1, 0, 12, 30), 5)
    packed.assert_equal(packed.score(without, texts), packed.score(with_table, texts))
    for sampling in (_core.Sampling(), _core.Sampling(temperature=0.0)):
        results = [m.generate(m.begin([t for t in texts if len(t)], 4), 9, sampling) for m in (with_table, without)]
        for first, second in zip(*results, strict=True):
            assert first is not None
            np.testing.assert_array_equal(first, second)
    # One stream, one step: input and recurrent product are formed together where there is no table.
    pieces = [np.concatenate([step_by_step(m, texts[0])]) for m in (with_table, without)]
    np.testing.assert_array_equal(pieces[0], pieces[1])
    np.testing.assert_array_equal(pieces[0], packed.score(with_table, texts)[0][0])


def step_by_step(model: _core.PackedModel, text: Any) -> Float32:
    state = model.begin([np.zeros(1, np.int32)], 1)
    return np.concatenate([model.score_next(state, text[i : i + 1][None])[0][0] for i in range(len(text))])


@pytest.mark.parametrize("kind", PRECISIONS)
def test_bytes(kind: str) -> None:
    """Sizes that fill whole panels of 32 columns and whole sixteens of depth, so that nothing is padding. A column of
    int8 has a scale and a sum beside its integers."""
    width, units, vocabulary = 32, 64, 320
    model = packed.make(Shape((LSTM,), width, units, vocabulary, precisions=(kind,))).model
    size, beside = {"float32": (4, 0), "bfloat16": (2, 0), "int8": (1, 8)}[kind]
    kernel, recurrent, projection = (
        size * rows * columns + beside * columns
        for rows, columns in [(width, 4 * units), (units, 4 * units), (units, vocabulary)]
    )
    row, table = 4 * 4 * units, 4 * 4 * units * vocabulary  # a token reads its row of the table, in float32
    assert model.read_bytes == row + recurrent + projection
    held = kernel + recurrent + projection + table + size * vocabulary * width
    assert held <= model.nbytes <= 1.05 * held + 16384  # biases, maps of columns and what alignment costs


# What is no number ---------------------------------------------------------------------------------------------------


CELL_PLACES = ["cell's kernel", "cell's recurrent_kernel", "cell's bias"]


def with_value(stored: Any, at: int, value: float, axis: int = -1) -> Any:
    """A copy with `value` all along place `at` of an axis; int8 has it as that channel's scale."""
    if isinstance(stored, tuple):
        return stored[0], with_value(stored[1], at, value)
    result, wanted = stored.copy(), np.float32(value)
    np.moveaxis(result, axis, 0)[at] = wanted.view(np.uint32) >> 16 if stored.dtype == np.uint16 else wanted
    return result


def spoil(arguments: dict[str, Any], place: str, at: int, value: float) -> dict[str, Any]:
    """`value` in row `at` of the embedding, or in that column of a kernel or bias."""
    if place not in CELL_PLACES:
        return arguments | {place: with_value(arguments[place], at, value, 0 if place == "embedding" else -1)}
    cell = list(arguments["cells"][0])
    part = 1 + CELL_PLACES.index(place)
    cell[part] = with_value(cell[part], at, value)
    return arguments | {"cells": [tuple(cell), *arguments["cells"][1:]]}


def nan_places(place: str) -> list[int]:
    """Of the projection's 257 classes, which are two blocks, the last one too: it fills its block alone."""
    return [0, 4] if place in CELL_PLACES else [0, 100, 255, 256]


@pytest.mark.parametrize("place", [*CELL_PLACES, "kernel", "bias"])
@pytest.mark.parametrize("kind", PRECISIONS)
@pytest.mark.parametrize("spec", [LSTM, GRU, RESET_BEFORE, RNN, RELU], ids=str)
def test_nan_in_the_weights_shows_in_every_log_probability(spec: CellSpec, kind: str, place: str, isa: str) -> None:
    """Since each has the sum over all classes in it."""
    shape = Shape((spec,), 6, 5, 257, precisions=(kind,))
    for at in nan_places(place):
        model = _core.PackedModel(**spoil(packed.made(shape).arguments, place, at, np.nan))
        texts = packed.make_texts(shape, (5, 1), 1)
        for log_probs, _ in packed.score(model, texts):
            assert np.isnan(log_probs).all(), (at, log_probs)
        state = model.begin([np.zeros(1, np.int32)], 1)
        assert np.isnan(model.score_next(state, texts[0][None])[0]).all(), at


@pytest.mark.parametrize("temperature", [0.0, 1.0], ids=["greedy", "drawn"])
@pytest.mark.parametrize("place", [*CELL_PLACES, "kernel", "bias"])
@pytest.mark.parametrize("kind", PRECISIONS)
def test_nothing_is_generated_where_weights_are_nan(kind: str, place: str, temperature: float, isa: str) -> None:
    """With log-probabilities or, as text is generated, without them."""
    shape, sampling = Shape((LSTM,), 6, 5, 257, precisions=(kind,)), _core.Sampling(temperature=temperature)
    for at in nan_places(place):
        model = _core.PackedModel(**spoil(packed.made(shape).arguments, place, at, np.nan))
        for log_probs in (True, False):
            assert is_refused(model, sampling, log_probs), (at, log_probs)


def is_refused(model: _core.PackedModel, sampling: _core.Sampling, log_probs: bool = True) -> bool:
    try:
        model.generate(model.begin([np.zeros(1, np.int32)], 1), 30, sampling, log_probs=log_probs)
    except ValueError as error:
        return str(error) == "the model's output is not finite"
    return False


@pytest.mark.parametrize("at", [0, 255, 256])
@pytest.mark.parametrize("place", ["kernel", "bias"])
@pytest.mark.parametrize("kind", PRECISIONS)
def test_an_infinite_logit_shows(kind: str, place: str, at: int, isa: str) -> None:
    """All activations are positive, and so is then the logit: infinite, as is the sum that divides every class."""
    shape = Shape((CellSpec("rnn", activation="sigmoid"),), 6, 5, 257, precisions=(kind,))
    arguments = packed.made(shape).arguments
    if place == "kernel" and kind == "int8":
        arguments = arguments | {"kernel": (np.abs(arguments["kernel"][0]), arguments["kernel"][1])}
    model = _core.PackedModel(**spoil(arguments, place, at, np.inf))
    for log_probs, _ in packed.score(model, packed.make_texts(shape, (5, 1), 1)):
        assert np.isnan(log_probs).all()
    assert is_refused(model, _core.Sampling())


@pytest.mark.parametrize("kind", PRECISIONS)
def test_a_token_that_is_no_number_spoils_what_follows_it(kind: str, isa: str) -> None:
    shape = Shape((LSTM, GRU), 6, 5, 23, precisions=(kind,))
    arguments = packed.made(shape).arguments
    model = _core.PackedModel(**spoil(arguments, "embedding", 7, np.nan))
    text, other = np.array([1, 2, 7, 3, 4], np.int32), np.array([1, 2, 3], np.int32)
    (log_probs, _), alone = packed.score(model, [text, other])
    (whole, _), _ = packed.score(packed.made(shape).model, [text, other])
    np.testing.assert_array_equal(log_probs[:3], whole[:3])
    assert np.isnan(log_probs[3:]).all()
    packed.assert_equal([alone], packed.score(packed.made(shape).model, [other]))


@pytest.mark.parametrize("kind", PRECISIONS)
def test_states_that_overflow_show(kind: str, isa: str) -> None:
    """A linear cell whose states grow a millionfold with each step: infinite after seven, then NaN."""
    shape = Shape((LINEAR,), 6, 5, 23, precisions=(kind,))
    arguments = dict(packed.made(shape).arguments)
    cell, kernel, _, bias = arguments["cells"][0]
    growing, _ = packed.narrow((1e6 * np.eye(5)).astype(np.float32), kind, 1)
    model = _core.PackedModel(**arguments | {"cells": [(cell, kernel, growing, bias)]})
    ((log_probs, _),) = packed.score(model, packed.make_texts(shape, (30,), 1))
    assert np.isfinite(log_probs[:5]).all()
    assert np.isnan(log_probs[9:]).all()
    assert is_refused(model, _core.Sampling())


# Bad input -----------------------------------------------------------------------------------------------------------


def ones(*shape: int) -> Any:
    return np.ones(shape, np.int8)


def scales(*shape: int) -> Float32:
    return np.ones(shape, np.float32)


BAD: list[tuple[str, Any, type[Exception], str]] = [
    ("embedding", np.ones((11, 4)), TypeError, r"embedding .*float32.*float64"),
    ("embedding", np.ones((11, 4), np.int16), TypeError, r"embedding .*int16"),
    ("embedding", ones(11, 4), TypeError, r"embedding .*int8"),  # without its scales
    ("embedding", [ones(11, 4), scales(11)], TypeError, r"embedding .*list"),
    ("embedding", np.ones(3, np.uint16), ValueError, r"embedding .*\(3,\)"),
    ("embedding", np.ones((11, 8), np.uint16)[:, ::2], TypeError, "embedding must be C-contiguous"),
    ("embedding", (ones(11, 4),), ValueError, r"embedding .*tuple \(int8 array, scales\)"),
    ("embedding", (ones(11, 4), scales(11), scales(11)), ValueError, r"embedding .*tuple \(int8 array, scales\)"),
    ("embedding", (ones(11, 4), scales(4)), ValueError, r"embedding's scales .*\(11,\).*\(4,\)"),
    ("embedding", (ones(11, 4), scales(11, 1)), ValueError, r"embedding's scales .*\(11,\).*\(11, 1\)"),
    ("embedding", (ones(11, 4), np.ones(11)), TypeError, r"embedding's scales .*float32.*float64"),
    ("embedding", (ones(11, 4), None), TypeError, r"embedding's scales .*NoneType"),
    ("embedding", (np.ones((11, 4), np.uint8), scales(11)), TypeError, r"embedding .*int8.*uint8"),
    ("embedding", (np.zeros((11, 131072), np.int8), scales(11)), ValueError, "131071 wide, not 131072"),
    ("cell", (ones(4, 20), scales(4)), ValueError, r"kernel's scales .*\(20,\).*\(4,\)"),
    ("cell", (np.asfortranarray(ones(4, 20)), scales(20)), TypeError, "kernel must be C-contiguous"),
    ("cell", (ones(20, 4), scales(4)), ValueError, r"kernel .*\(4, 20\).*\(20, 4\)"),
    ("cell", np.ones((4, 19), np.uint16), ValueError, r"kernel .*\(4, 20\).*\(4, 19\)"),
    ("recurrent", np.ones((4, 20), np.uint16), ValueError, r"recurrent_kernel .*\(5, 20\).*\(4, 20\)"),
    ("recurrent", (ones(5, 20), scales(5)), ValueError, r"recurrent_kernel's scales .*\(20,\).*\(5,\)"),
    ("kernel", (ones(5, 11), scales(5)), ValueError, r"kernel's scales .*\(11,\).*\(5,\)"),
    ("kernel", (ones(5, 12), scales(12)), ValueError, "from 1 to 11 outputs.*not 12"),
    ("transposed", (ones(11, 5), scales(5)), ValueError, r"kernel's scales .*\(11,\).*\(5,\)"),
    ("transposed", np.ones((5, 11), np.uint16), ValueError, r"kernel .*\(\*, 5\).*\(5, 11\)"),
]


def assemble(name: str, value: Any) -> _core.PackedModel:
    parts: dict[str, Any] = {"embedding": scales(11, 4), "cell": scales(4, 20), "recurrent": scales(5, 20)}
    parts |= {"kernel": scales(5, 11), name: value}
    cells = [(_core.Cell("lstm", 4, 5), parts["cell"], parts["recurrent"], None)]
    kernel = parts.get("transposed", parts["kernel"])
    return _core.PackedModel(parts["embedding"], cells, kernel, None, transposed="transposed" in parts)


@pytest.mark.parametrize(("name", "value", "error", "sentence"), BAD, ids=[f"{b[0]}-{b[3]}" for b in BAD])
def test_bad_weights(name: str, value: Any, error: type[Exception], sentence: str) -> None:
    with pytest.raises(error, match=sentence):
        assemble(name, value)


def test_a_layer_that_is_too_wide() -> None:
    """Sums of int8 products are of 32 bits: 131,072 of the largest would exceed them."""
    cell, wide, narrow = _core.Cell("rnn", 131072, 2), np.zeros((3, 131072), np.float32), np.zeros((2, 3), np.float32)
    kernel, recurrent = np.zeros((131072, 2), np.int8), np.zeros((2, 2), np.float32)
    _core.PackedModel(wide, [(cell, kernel.astype(np.float32), recurrent, None)], narrow, None)
    with pytest.raises(ValueError, match="kernel in int8 may be at most 131071 wide, not 131072"):
        _core.PackedModel(wide, [(cell, (kernel, scales(2)), recurrent, None)], narrow, None)


def test_an_integer_of_minus_128_is_refused() -> None:
    """Symmetric int8 has no -128, but an array can: multiplied by a negative activation it would keep its sign."""
    narrow = np.full((2, 3), -128, np.int8), scales(3)
    cell, zero, embedding = _core.Cell("rnn", 2, 3, activation="linear"), np.zeros((3, 3), np.float32), scales(3, 2)
    with pytest.raises(ValueError, match=r"^kernel must hold integers from -127 to 127, not -128$"):
        _core.PackedModel(embedding, [(cell, narrow, zero, None)], zero, None)
