"""Layers that merge, wrap, pool and reshape, with and without masks, beside Keras 3; skipped where it is not installed.

Each case is a function of a library that returns a model; outputs, loss and first gradients must agree within 1e-5.
"""

import os
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
keras = pytest.importorskip("keras", minversion="3")

import recurlm  # noqa: E402
from recurlm import optimizers  # noqa: E402
from tests.python.models import ids, normal  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")
RNG = np.random.default_rng(12)
V, T, B, S = 9, 6, 4, 3

Case = Callable[[Any], Any]


def tokens(library: Any, *shape: int | None) -> Any:
    return library.Input(shape=shape or (None,), dtype="int32")


def embedded(library: Any, source: Any, mask: bool, width: int = 5) -> Any:
    return library.layers.Embedding(V, width, mask_zero=mask)(source)


def recurrent(cell: str, **options: Any) -> Case:
    """A bidirectional layer with whatever it returns as outputs, through a Dense each."""
    wrapper = {key: options.pop(key) for key in ("merge_mode",) if key in options}
    mask = options.pop("mask", False)

    def build(library: Any) -> Any:
        made = library.layers
        source = tokens(library)
        outputs = made.Bidirectional(getattr(made, cell)(3, **options), **wrapper)(embedded(library, source, mask))
        outputs = outputs if isinstance(outputs, (list, tuple)) else [outputs]
        return library.Model(source, [made.Dense(2, "tanh")(y) for y in outputs])

    return build


def bidirectional_with_initial_states(library: Any) -> Any:
    made = library.layers
    source, start = tokens(library), library.Input((4,))
    states = [made.Dense(3)(start) for _ in range(4)]
    layer = made.Bidirectional(made.LSTM(3, return_sequences=True))
    # Without a mask: given initial states as tensors of a graph, Keras does not find the one of the sequence.
    return library.Model([source, start], layer(embedded(library, source, False), initial_state=states))


def bidirectional_of_two_kinds(library: Any) -> Any:
    made = library.layers
    source = tokens(library)
    backward = made.LSTM(3, return_sequences=True, go_backwards=True, use_bias=False)
    layer = made.Bidirectional(made.LSTM(3, return_sequences=True), backward_layer=backward)
    return library.Model(source, made.Dense(V, "softmax")(layer(embedded(library, source, True))))


def stacked_bidirectional(library: Any) -> Any:
    made = library.layers
    source = tokens(library)
    x = made.Bidirectional(made.GRU(3, return_sequences=True))(embedded(library, source, True))
    return library.Model(source, made.Dense(1, "sigmoid")(made.Bidirectional(made.GRU(3), merge_mode="sum")(x)))


def time_distributed_dense(library: Any) -> Any:
    made = library.layers
    source = tokens(library)
    x = made.LSTM(4, return_sequences=True)(embedded(library, source, True))
    return library.Model(source, made.TimeDistributed(made.Dense(3, "tanh"))(x))


def hierarchical(library: Any) -> Any:
    made = library.layers
    source = tokens(library, S, T)
    x = embedded(library, source, False)
    x = made.TimeDistributed(made.LSTM(4, return_sequences=True))(x)
    x = made.TimeDistributed(made.Bidirectional(made.GRU(3)))(x)
    return library.Model(source, made.Dense(2)(made.LSTM(3)(x)))


def time_distributed_embedding(library: Any) -> Any:
    made = library.layers
    source = tokens(library, S, T)
    x = made.TimeDistributed(made.Embedding(V, 4))(source)
    return library.Model(source, made.GRU(3)(made.TimeDistributed(made.GlobalAveragePooling1D())(x)))


def dense_on_four_axes(library: Any) -> Any:
    source = tokens(library, S, T)
    return library.Model(source, library.layers.Dense(3, "tanh")(embedded(library, source, True)))


def merged(name: str, masks: tuple[bool, bool], **options: Any) -> Case:
    """Two embeddings of two inputs, so that the masks differ, merged; then a layer that uses the mask of the result."""

    def build(library: Any) -> Any:
        made = library.layers
        sources = [tokens(library), tokens(library)]
        x = getattr(made, name)(**options)(
            [embedded(library, source, mask) for source, mask in zip(sources, masks, strict=True)]
        )
        return library.Model(sources, [made.LSTM(3, return_sequences=True)(x), made.GRU(2)(x)])

    return build


def merged_shapes(name: str) -> Case:
    def build(library: Any) -> Any:
        made = library.layers
        sequence, row = library.Input((T, 4)), library.Input((4,))
        x = getattr(made, name)(
            [sequence, made.Dense(4)(row)] if name != "Add" else [sequence, made.Dense(1)(sequence)]
        )
        return library.Model([sequence, row], made.Dense(2)(x))

    return build


def pooled(name: str, mask: bool, **options: Any) -> Case:
    def build(library: Any) -> Any:
        made = library.layers
        source = tokens(library)
        x = made.LSTM(4, return_sequences=True)(embedded(library, source, mask))
        return library.Model(source, made.Dense(3)(getattr(made, name)(**options)(x)))

    return build


def arranged(*steps: tuple[Any, ...]) -> Case:
    """Layers one after the other on a masked sequence, and something that reads the result."""

    def build(library: Any) -> Any:
        made = library.layers
        source = tokens(library, T)
        x = embedded(library, source, True, 4)
        for name, *arguments in steps:
            x = getattr(made, name)(*arguments)(x)
        return library.Model(source, made.Dense(3, "tanh")(x))

    return build


CASES: dict[str, Case] = {
    **{
        f"Bidirectional-{cell}-{mode}-{sequences}-{mask}": recurrent(
            cell, merge_mode=mode, return_sequences=sequences, mask=mask
        )
        for cell, mode in [
            *(("LSTM", mode) for mode in ("concat", "sum", "mul", "ave", None)),
            ("GRU", "concat"),
            ("SimpleRNN", "concat"),
        ]
        for sequences in (False, True)
        for mask in (False, True)
    },
    "Bidirectional-states": recurrent("LSTM", return_state=True, return_sequences=True),
    "Bidirectional-states-none": recurrent("GRU", return_state=True, merge_mode=None),
    "Bidirectional-initial": bidirectional_with_initial_states,
    "Bidirectional-backward-layer": bidirectional_of_two_kinds,
    "Bidirectional-stacked": stacked_bidirectional,
    "TimeDistributed-Dense": time_distributed_dense,
    "TimeDistributed-LSTM": hierarchical,
    "TimeDistributed-Embedding": time_distributed_embedding,
    "Dense-four-axes": dense_on_four_axes,
    **{
        f"{name}-{masks}": merged(name, masks)
        for name in ("Add", "Subtract", "Multiply", "Average", "Concatenate")
        for masks in ((False, False), (True, False), (True, True))
    },
    **{f"Concatenate-1-{masks}": merged("Concatenate", masks, axis=1) for masks in ((True, False), (True, True))},
    **{
        f"{name}-{mask}": pooled(name, mask)
        for name in ("GlobalAveragePooling1D", "GlobalMaxPooling1D")
        for mask in (False, True)
    },
    "Pooling-keepdims": pooled("GlobalAveragePooling1D", True, keepdims=True),
    "Activation": arranged(("Dense", 4), ("Activation", "softmax"), ("Activation", "tanh"), ("LSTM", 3)),
    "Flatten": arranged(("Flatten",)),
    "Reshape": arranged(("Reshape", (8, 3)), ("GRU", 3), ("Reshape", (-1, 1))),
    "Reshape-four-axes": arranged(("Reshape", (2, 3, -1)), ("Permute", (3, 1, 2)), ("Flatten",)),
    "Permute": arranged(("Permute", (2, 1)), ("LSTM", 3)),
    "RepeatVector": arranged(("LSTM", 3), ("RepeatVector", 4), ("GRU", 2)),
}


def arrays_for(model: Any, seed: int) -> list[np.ndarray]:
    """Random inputs: ids with padding at the ends, or numbers."""
    rng = np.random.default_rng(seed)
    arrays = []
    for i, tensor in enumerate(model.inputs):
        extents = [T if extent is None else extent for extent in tensor.shape[1:]]
        if "int" in str(tensor.dtype):
            x = ids(rng, V - 1, B, *extents) + 1
            x[i, ..., 4:] = 0  # of other rows in other inputs
            x[2, ..., 3:] = 0
            arrays.append(x)
        else:
            arrays.append(normal(rng, B, *extents))
    return arrays


@pytest.mark.parametrize("case", CASES)
def test_outputs_and_first_gradients(case: str) -> None:
    theirs, ours = CASES[case](keras), CASES[case](recurlm)
    weights = [0.5 * normal(RNG, *w.shape) for w in theirs.get_weights()]
    theirs.set_weights(weights)
    ours.set_weights(weights)
    x = arrays_for(ours, 5)
    x = x if len(x) > 1 else x[0]
    expected, outputs = theirs.predict(x, verbose=0), ours.predict(x, verbose=0)
    if not isinstance(outputs, list):
        expected, outputs = [expected], [outputs]
    for a, b in zip(outputs, expected, strict=True):
        assert a.shape == b.shape
        np.testing.assert_allclose(a, b, atol=1e-5)
    y = [normal(RNG, *output.shape) for output in outputs]
    # With plain descent at rate 1 the change of the weights is the gradient.
    theirs.compile(keras.optimizers.SGD(1.0), ["mse"] * len(y))
    ours.compile(optimizers.SGD(1.0), ["mse"] * len(y))
    before = ours.get_weights()
    y = y if len(y) > 1 else y[0]
    their_loss, our_loss = theirs.train_on_batch(x, y), ours.train_on_batch(x, y)
    assert np.ravel(our_loss)[0] == pytest.approx(float(np.ravel(their_loss)[0]), abs=1e-5)
    for start, a, b in zip(before, ours.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_allclose(a - start, b - start, atol=1e-5)


def test_stateful_bidirectional_layers_carry_and_reset() -> None:
    weights: list[np.ndarray] = []
    results = []
    x = normal(RNG, B, T, 2)
    for library in (keras, recurlm):
        made = library.layers
        source = library.Input(batch_shape=(B, T, 2))
        layer = made.Bidirectional(made.GRU(3, stateful=True))
        model = library.Model(source, layer(source))
        weights = weights or [normal(RNG, *w.shape) for w in model.get_weights()]
        model.set_weights(weights)
        seen = [np.asarray(model.predict(x, batch_size=B, verbose=0)) for _ in range(2)]
        layer.reset_states()
        seen.append(np.asarray(model.predict(x, batch_size=B, verbose=0)))
        results.append(seen)
    np.testing.assert_allclose(results[1], results[0], atol=1e-5)
    assert not np.allclose(results[1][0], results[1][1])
    np.testing.assert_array_equal(results[1][0], results[1][2])


@pytest.mark.parametrize(
    "name",
    [
        "Bidirectional",
        "TimeDistributed",
        "GlobalAveragePooling1D",
        "RepeatVector",
        "SpatialDropout1D",
        "SimpleRNN",
        "LSTM",
    ],
)
def test_automatic_names(name: str) -> None:
    from keras.src.utils.naming import to_snake_case

    from recurlm.naming import snake_case

    assert snake_case(name) == to_snake_case(name)
