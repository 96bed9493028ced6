"""What is not finite is reported with the step and its cause, and changes no weight."""

import re
from typing import Any

import numpy as np
import pytest

from recurlm import Input, LanguageModel, Model
from recurlm.callbacks import Callback, TerminateOnNaN
from recurlm.layers import LSTM, Dense
from recurlm.losses import MeanAbsoluteError
from recurlm.seeding import permutation
from recurlm.typing import Float
from tests.python import samples

N, T, D = 24, 5, 3


def data(seed: int = 0) -> tuple[Float, Float]:
    rng = np.random.default_rng(seed)
    return rng.standard_normal((N, T, D)).astype(np.float32), rng.standard_normal((N, 2)).astype(np.float32)


def compiled(seed: int = 5) -> Model:
    x = Input((T, D))
    model = Model(x, Dense(2, name="top")(LSTM(4, name="cell")(x)), seed=seed)
    model.compile("sgd", "mse")
    return model


def first_step_of(samples: list[int], batch_size: int, seed: int) -> int:
    """The number of the first step, from 1 on, that sees one of the samples in the first epoch."""
    order = permutation(seed, 0, N).tolist()
    return min(order.index(sample) for sample in samples) // batch_size + 1


@pytest.mark.parametrize("what", ["x", "y", "sample_weight"])
def test_samples_are_named_as_the_user_counts_them_though_shuffled(what: str) -> None:
    x, y = data()
    given: dict[str, Any] = {"x": x, "y": y, "sample_weight": np.ones(N, np.float32)}
    given[what].reshape(N, -1)[[7, 19], -1] = np.nan
    model = compiled()
    before: list[Float] = []

    class Keep(Callback):
        def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
            before[:] = self.model.get_weights()

    with pytest.raises(FloatingPointError) as caught:
        model.fit(**given, batch_size=8, verbose=0, callbacks=[Keep()])
    found = re.fullmatch(
        rf"epoch 1, step (\d): the loss is nan: {what} is not finite in samples? ([\d, ]+); no weight was changed",
        str(caught.value),
    )
    assert found is not None, caught.value
    named = [int(number) for number in found[2].split(",")]
    step = int(found[1])
    assert step == first_step_of([7, 19], 8, 5)
    batch = permutation(5, 0, N)[(step - 1) * 8 : step * 8].tolist()
    assert named == sorted({7, 19} & set(batch))
    for weight, good in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(weight, good)


@pytest.mark.filterwarnings("ignore:overflow")
def test_too_large_for_float32_is_not_finite() -> None:
    x, y = data()
    wide = x.astype(np.float64)
    wide[3] = 1e300
    with pytest.raises(FloatingPointError, match=r"x is not finite in sample 3; no weight was changed"):
        compiled().fit(wide, y, batch_size=N, verbose=0)


def test_many_samples_are_counted() -> None:
    x, y = data()
    y[2:] = np.inf
    with pytest.raises(FloatingPointError, match=r"y is not finite in samples 2, 3, 4, 5, 6 and 17 more; no weight"):
        compiled().fit(x, y, batch_size=N, shuffle=False, verbose=0)


def test_labels_of_weight_zero_are_not_blamed() -> None:
    x, y = data()
    y[4], x[9] = np.nan, np.inf
    weight = np.ones(N, np.float32)
    weight[4] = 0
    with pytest.raises(FloatingPointError, match=r"the loss is nan: x is not finite in sample 9; no weight"):
        compiled().fit(x, y, sample_weight=weight, batch_size=N, verbose=0)


def test_inputs_and_outputs_are_named_where_there_are_several() -> None:
    a, b = Input((D,), name="left"), Input((D,), name="right")
    model = Model([a, b], [Dense(1, name="up")(a), Dense(1, name="down")(b)])
    model.compile("sgd", ["mse", "mse"])
    x = np.ones((4, D), np.float32)
    bad = x.copy()
    bad[2, 0] = np.nan
    y = np.zeros((4, 1), np.float32)
    with pytest.raises(FloatingPointError, match=r"x of input 'right' is not finite in sample 2, y of output 'up' is"):
        model.fit([x, bad], [y * np.nan, y], verbose=0)


def test_the_first_layer_is_named_where_the_data_are_finite() -> None:
    x = Input((D,))
    model = Model(x, Dense(1, name="late")(Dense(2, name="early")(x)))
    model.compile("sgd", "mse")
    weights = model.get_weights()
    weights[0][:] = 1e30
    model.set_weights(weights)
    given = np.ones((6, D), np.float32)
    given[4] = 1e20
    with pytest.raises(FloatingPointError, match=r"the loss is \w+: the output of early is not finite in sample 4; no"):
        model.fit(given, np.zeros((6, 1)), verbose=0)


def test_looking_for_the_cause_leaves_the_states_of_a_stateful_layer_alone() -> None:
    x = Input((T, D), batch_size=N)
    hidden = LSTM(4, stateful=True, name="cell")(x)
    model = Model(x, Dense(2, name="top")(Dense(2, name="wide")(hidden)))
    model.compile("sgd", "mse")
    model.get_layer("wide").weights[0].value[:] = 1e30
    model.get_layer("top").weights[0].value[:] = 1e30
    given, labels = data()
    model.predict(given, batch_size=N, verbose=0)
    expected = [state.copy() for state in model.get_layer("cell").states["cell"]]
    model.reset_states()
    with pytest.raises(FloatingPointError, match=r"the output of top is not finite in samples 0, "):
        model.fit(given, labels, batch_size=N, shuffle=False, verbose=0)
    for state, before in zip(model.get_layer("cell").states["cell"], expected, strict=True):
        np.testing.assert_array_equal(state, before)


def test_a_gradient_is_followed_to_where_it_was_first() -> None:
    x = Input((1,))
    model = Model(x, Dense(1, name="last")(Dense(1, use_bias=False, name="first")(x)))
    model.compile("sgd", MeanAbsoluteError(reduction="sum"))
    model.set_weights([np.array([[1e-3]]), np.array([[1e-33]]), np.zeros(1)])
    # What the last layer is given is 2e35; its gradient is the sum of 2,000 of them.
    with pytest.raises(FloatingPointError, match=r"the gradient of .*: on the way back first in last\.kernel; no"):
        model.fit(np.full((2000, 1), 2e38, np.float32), np.zeros((2000, 1)), batch_size=2000, verbose=0)


def test_validation_is_reported_with_the_samples_of_the_user() -> None:
    x, y = data()
    y[20] = np.nan
    with pytest.raises(FloatingPointError) as caught:
        compiled().fit(x, y, batch_size=3, validation_split=0.25, verbose=0)
    assert str(caught.value) == "epoch 1, validation step 1: the loss is nan: y is not finite in sample 20"
    history = compiled().fit(x, y, batch_size=3, validation_split=0.25, verbose=0, callbacks=[TerminateOnNaN()])
    assert np.isnan(history.history["val_loss"]).all()


class Spoil(Callback):
    """Makes the run diverge before a step."""

    def __init__(self, step: int) -> None:
        super().__init__()
        self.step = step

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        if batch == self.step:
            self.model.weights[-1].value[0] = np.nan


def test_a_language_model_tells_where_in_the_text_it_was() -> None:
    lm = LanguageModel(units=8, seed=1)
    recipe: dict[str, Any] = samples.RECIPE | {"callbacks": [Spoil(5)], "validation_split": 0}
    with pytest.raises(FloatingPointError) as caught:
        lm.fit([samples.text(40)], epochs=2, **recipe)
    length = len(samples.text(40)) + 1
    place = f"the batch is tokens {5 * 16} to {6 * 16 - 1} of each of 4 streams, {length // 4:,} apart"
    assert str(caught.value).startswith("epoch 1, step 6: the loss is ")
    assert str(caught.value).endswith(place)
