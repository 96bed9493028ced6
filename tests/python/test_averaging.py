"""Averages of weights and accumulated gradients: in training, beside it, and after an interruption."""

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import recurlm
from recurlm import Input, Model
from recurlm.callbacks import Callback, ModelCheckpoint, NonMonotonicTrigger, SwapEMAWeights
from recurlm.layers import LSTM, Dense, Embedding
from recurlm.model_io import ModelState
from recurlm.optimizers import ASGD, SGD, Adam, Lion, Optimizer, RMSprop, schedules
from recurlm.tape import Parameter, Tape
from tests.python.models import ids

V, T, B = 40, 5, 4
MAKERS: dict[str, Any] = {
    "lion": lambda: Lion(0.01, weight_decay=0.1),
    "ema": lambda: Adam(0.01, use_ema=True, ema_momentum=0.8),
    "ema overwrites": lambda: RMSprop(0.01, use_ema=True, ema_momentum=0.8, ema_overwrite_frequency=2),
    "accumulation": lambda: SGD(0.5, gradient_accumulation_steps=4, global_clipnorm=0.1),
    "both": lambda: Adam(schedules.OneCycle(0.05, 9), use_ema=True, gradient_accumulation_steps=2),
    "asgd": lambda: ASGD(0.5, t0=1, lambd=0.1),
    "asgd accumulates": lambda: ASGD(0.5, t0=1, gradient_accumulation_steps=2),
}


def build(optimizer: Optimizer, dtype: Any = "float32") -> Model:
    """Tied weights, a frozen layer, and a table of which few rows are read."""
    recurlm.utils.set_random_seed(1)
    tokens = Input((T,), dtype="int32")
    table, frozen = Embedding(V, 6), Dense(6, "tanh")
    x = frozen(LSTM(6, return_sequences=True)(table(tokens)))
    model = Model(tokens, Dense(V, "softmax", tied_to=table)(x), seed=1)
    frozen.trainable = False
    model.compile(optimizer, "sparse_categorical_crossentropy", dtype=dtype)
    return model


def untied(optimizer: Optimizer) -> Model:
    """A table that keeps its gradient's rows."""
    recurlm.utils.set_random_seed(1)
    tokens = Input((T,), dtype="int32")
    model = Model(tokens, Dense(3, "softmax")(Embedding(90, 6)(tokens)), seed=1)
    model.compile(optimizer, "sparse_categorical_crossentropy")
    return model


def batches(count: int, limit: int = V, kinds: int = V) -> list[tuple[np.ndarray, np.ndarray]]:
    rng = np.random.default_rng(9)
    return [(ids(rng, limit, B, T), ids(rng, kinds, B, T)) for _ in range(count)]


def train(model: Model, data: list[tuple[np.ndarray, np.ndarray]]) -> None:
    for x, y in data:
        model.train_on_batch(x, y)


def fit(model: Model, data: list[tuple[np.ndarray, np.ndarray]], **options: Any) -> None:
    x, y = (np.concatenate(arrays) for arrays in zip(*data, strict=True))
    model.fit(x, y, batch_size=B, shuffle=False, verbose=0, **options)


def averages(model: Model) -> list[np.ndarray]:
    kept = model.optimizer.averages
    assert kept is not None
    return [kept.of(parameter).copy() for parameter in model.trainable_weights]


def trained(model: Model) -> list[np.ndarray]:
    return [parameter.value.copy() for parameter in model.trainable_weights]


def same(a: list[np.ndarray], b: list[np.ndarray]) -> bool:
    return all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


def assert_same_state(a: Model, b: Model) -> None:
    one, other = a.get_state(), b.get_state()
    assert one.values | {"metrics": None} == other.values | {"metrics": None}
    assert one.arrays.keys() == other.arrays.keys()
    for name, array in one.arrays.items():
        np.testing.assert_array_equal(array, other.arrays[name], err_msg=name)


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("done", [0, 3, 5])
def test_saved_and_resumed_with_the_same_bits(name: str, done: int, tmp_path: Path) -> None:
    data = batches(10)
    straight, stopped = build(MAKERS[name]()), build(MAKERS[name]())
    train(straight, data)
    train(stopped, data[:done])
    stopped.save(tmp_path / "model")
    state = copy.deepcopy(stopped.get_state())
    loaded, fresh = Model.load(tmp_path / "model"), build(MAKERS[name]())
    train(fresh, data[:2])  # to be overwritten
    fresh.set_state(ModelState(state.arrays, json.loads(json.dumps(state.values))))
    for model in (loaded, fresh):
        train(model, data[done:])
        assert_same_state(model, straight)


@pytest.mark.parametrize("name", MAKERS)
def test_any_number_of_threads_gives_the_same_bits(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data, models = batches(6), []
    before = recurlm.get_num_threads()
    for threads in (1, 4):
        recurlm.set_num_threads(threads)
        models.append(build(MAKERS[name]()))
        train(models[-1], data)
    recurlm.set_num_threads(before)
    assert_same_state(*models)


def test_accumulated_gradients_are_one_of_a_larger_batch() -> None:
    data = batches(4)
    parts, whole = build(SGD(0.5, gradient_accumulation_steps=4)), build(SGD(0.5))
    start = parts.get_weights()
    for count, (x, y) in enumerate(data, 1):
        assert same(parts.get_weights(), start)
        assert parts.optimizer.iterations == 0
        version = parts.weights_version
        parts.train_on_batch(x, y)
        assert (parts.weights_version > version) == (count == 4)
    assert parts.optimizer.iterations == 1
    whole.train_on_batch(np.concatenate([x for x, _ in data]), np.concatenate([y for _, y in data]))
    for a, b in zip(parts.get_weights(), whole.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


def test_asgd_averages_the_weights_of_updates_only() -> None:
    data = batches(4)
    twice, once = build(ASGD(0.5, t0=0, gradient_accumulation_steps=2)), build(ASGD(0.5, t0=0))
    train(twice, [batch for batch in data for _ in range(2)])
    train(once, data)
    assert same(trained(twice), trained(once))
    assert same(averages(twice), averages(once))


def test_counts_from_numpy_can_be_saved(tmp_path: Path) -> None:
    build(Adam(use_ema=True, ema_overwrite_frequency=np.int64(3))).save(tmp_path / "model")  # type: ignore[arg-type]
    assert Model.load(tmp_path / "model").optimizer.ema_overwrite_frequency == 3


@pytest.mark.parametrize("options", [{}, {"use_ema": True, "ema_overwrite_frequency": 2}], ids=["", "ema"])
@pytest.mark.parametrize("steps", [None, 2])
def test_row_sparse_gradients_change_no_result(
    options: dict[str, Any], steps: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, weights = batches(6, 90, 3), []
    for rows_of in (Tape.rows_of, lambda tape, parameter: None):
        monkeypatch.setattr(Tape, "rows_of", rows_of)
        model = untied(SGD(0.5, gradient_accumulation_steps=steps, **options))
        train(model, data)
        weights.append(model.get_weights())
    assert same(*weights)


@pytest.mark.parametrize("name", MAKERS)
def test_a_nonfinite_gradient_changes_nothing(name: str) -> None:
    parameters = [Parameter("kernel", np.ones((3, 2), np.float32)), Parameter("bias", np.ones(2, np.float32))]
    optimizer = MAKERS[name]()
    for step in range(7):
        for parameter in parameters:
            parameter.grad.fill(0.1 * step)
        before = copy.deepcopy([[p.value, p.version, optimizer.arrays(p)] for p in parameters])
        parameters[1].grad[1] = np.nan
        with pytest.raises(FloatingPointError, match="the gradient of bias"):
            optimizer.apply(parameters)
        assert optimizer.steps == step
        for parameter, (value, version, arrays) in zip(parameters, before, strict=True):
            np.testing.assert_array_equal(parameter.value, value)
            assert parameter.version == version
            for key, array in optimizer.arrays(parameter).items():
                np.testing.assert_array_equal(array, arrays[key])
        parameters[1].grad[1] = 0.1
        optimizer.apply(parameters)


def test_bfloat16_training_averages_in_float32() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("warnings.warn", lambda *a, **k: None)  # where the processor has no such products
        model = build(SGD(0.5, use_ema=True, ema_momentum=0.5), "bfloat16")
    expected: list[np.ndarray] = []
    for x, y in batches(4):
        model.train_on_batch(x, y)
        now = [value.astype(np.float64) for value in trained(model)]
        expected = [0.5 * a + 0.5 * b for a, b in zip(expected or now, now, strict=True)]
    for a, b in zip(averages(model), expected, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


# Averages in place of the weights ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["ema", "asgd"])
def test_validation_sees_averages_and_training_does_not(name: str) -> None:
    data, held_out = batches(6), batches(1)[0]
    watched, plain = build(MAKERS[name]()), build(MAKERS[name]())
    seen: list[float] = []

    class Watch(Callback):
        def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
            with self.model.averaged_weights():
                seen.append(self.model.evaluate(*held_out, verbose=0))
            assert (logs or {})["val_loss"] == seen[-1]
            assert self.model.evaluate(*held_out, verbose=0) != seen[-1]

    fit(watched, data, epochs=3, validation_data=held_out, callbacks=[SwapEMAWeights(), Watch()])
    fit(plain, data, epochs=3)
    assert len(seen) == 3
    assert_same_state(watched, plain)
    assert same(trained(plain), averages(plain))  # fit ends with the averages
    assert watched.evaluate(*held_out, verbose=0) == seen[-1]


class FailsOnce(Callback):
    def on_test_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        raise OSError("once")


def test_no_weights_are_lost_where_an_evaluation_fails(tmp_path: Path) -> None:
    data, held_out = batches(6), batches(1)[0]
    failed, straight = build(MAKERS["ema"]()), build(MAKERS["ema"]())
    with pytest.raises(OSError, match="once"):
        fit(failed, data, epochs=2, validation_data=held_out, callbacks=[SwapEMAWeights(), FailsOnce()])
    failed.save(tmp_path / "swapped")
    loaded = Model.load(tmp_path / "swapped")
    train(straight, data + data)
    for model in (failed, loaded):
        train(model, data)
        assert same(model.get_weights(), straight.get_weights())
    before = trained(straight)
    with pytest.raises(AssertionError, match="inside"), straight.averaged_weights():
        assert same(trained(straight), before), "inside"
    assert same(trained(straight), before)


def test_checkpoints_hold_the_averages_and_go_on(tmp_path: Path) -> None:
    data = batches(5)
    straight, saved = build(MAKERS["ema"]()), build(MAKERS["ema"]())
    shown: list[list[np.ndarray]] = []

    class Look(Callback):
        def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
            shown.append(trained(self.model))

    swap = SwapEMAWeights(swap_on_epoch=True)
    fit(saved, data, epochs=2, callbacks=[swap, ModelCheckpoint(tmp_path / "{epoch}"), Look()])
    fit(straight, data, epochs=2)
    assert_same_state(saved, straight)
    assert same(shown[1], trained(saved))
    loaded = Model.load(tmp_path / "1")
    assert same(trained(loaded), shown[0])
    fit(loaded, data, epochs=2, initial_epoch=1)
    assert same(loaded.get_weights(), straight.get_weights())


def test_versions_rise_whenever_weights_are_exchanged() -> None:
    model = build(SGD(0.5, use_ema=True, ema_overwrite_frequency=2))
    train(model, batches(1))
    versions = [model.weights_version]
    with model.averaged_weights():
        versions.append(model.weights_version)
    versions.append(model.weights_version)
    train(model, batches(1))  # overwrites: two writes
    versions.append(model.weights_version - len(model.trainable_weights))
    model.optimizer.finalize_variable_values(model.trainable_weights)
    versions.append(model.weights_version)
    assert versions == sorted(set(versions))


def test_a_fit_without_steps_leaves_the_weights() -> None:
    model = build(MAKERS["ema"]())
    train(model, batches(3))
    weights = [value + 1 for value in model.get_weights()]
    model.set_weights(weights)
    fit(model, batches(1), epochs=0)
    assert same(model.get_weights(), weights)
    untrained = build(MAKERS["ema"]())
    untrained.get_state()  # makes the averages
    untrained.set_weights(weights)
    untrained.optimizer.finalize_variable_values(untrained.trainable_weights)
    with untrained.averaged_weights():
        assert same(untrained.get_weights(), weights)


def test_averages_are_swapped_in_once() -> None:
    model = build(MAKERS["ema"]())
    train(model, batches(3))
    means, weights = averages(model), trained(model)
    for _ in range(2):
        model.optimizer.use_averages(model.trainable_weights)
        assert same(trained(model), means)
    for _ in range(2):
        model.optimizer.use_weights()
        assert same(trained(model), weights)


def test_optimizers_without_averages_say_so() -> None:
    model = build(SGD(0.1))
    for callback in (SwapEMAWeights(), NonMonotonicTrigger()):
        with pytest.raises(ValueError, match="needs"):
            fit(model, batches(1), callbacks=callback)
    with pytest.raises(ValueError, match="SGD keeps no averages of weights: give it use_ema=True"):
        model.averaged_weights().__enter__()
    train(model, batches(1))  # nobody holds the model


# When averaging starts -----------------------------------------------------------------------------------------------


def checked(figures: list[float], patience: int, mode: str = "auto", monitor: str = "val_loss") -> list[bool]:
    """After each of these figures, whether averaging has begun."""
    model, begun = build(ASGD(0.1, t0=None)), []
    callback = NonMonotonicTrigger(monitor, patience, mode)
    callback.set_model(model)
    for epoch, figure in enumerate(figures):
        callback.on_epoch_end(epoch, {monitor: figure})
        begun.append(model.optimizer.averaging)  # type: ignore[attr-defined]
    return begun


def test_the_trigger_compares_with_figures_more_than_patience_ago() -> None:
    assert checked([5, 4, 3, 4, 3.5, 3.2], 2) == [False] * 5 + [True]
    assert checked([3, 5, 5, 5], 2) == [False, False, False, True]
    assert checked([3, 3, 3, 3], 2) == [False] * 4  # no worse
    assert checked([3, 4], 0) == [False, True]
    assert checked([3, 4], 1) == [False, False]
    assert checked([3, float("nan"), 4], 0) == [False, False, True]
    assert checked([0.3, 0.2], 0, monitor="val_accuracy") == [False, True]
    with pytest.raises(ValueError, match="patience must be an integer from 0 on, got -1"):
        NonMonotonicTrigger(patience=-1)


def test_averaging_that_starts_in_training_is_resumed(tmp_path: Path) -> None:
    data, held_out = batches(4), batches(1)[0]

    class Worse(Callback):
        def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
            assert logs is not None
            logs["val_loss"] = float(epoch)

    def run(model: Model, initial_epoch: int) -> None:
        callbacks = [Worse(), NonMonotonicTrigger(patience=1), ModelCheckpoint(tmp_path / "{epoch}")]
        fit(model, data, epochs=5, initial_epoch=initial_epoch, validation_data=held_out, callbacks=callbacks)
        assert model.optimizer.get_state() == {"swapped": False, "t0": 12, "checks": [0.0, 1.0, 2.0, 3.0, 4.0]}
        assert same(trained(model), averages(model))

    straight = build(ASGD(0.5, t0=None))
    run(straight, 0)
    for epoch in (2, 4):  # before and after averaging started
        loaded = Model.load(tmp_path / f"{epoch}")
        run(loaded, epoch)
        assert same(loaded.get_weights(), straight.get_weights())


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ([], "the state is damaged: swapped must be true or false"),
        ({"swapped": 1, "t0": 3, "checks": []}, "the state is damaged: swapped must be true or false"),
        ({"swapped": False}, "the state is not that of ASGD, or damaged"),
        ({"swapped": False, "t0": -1, "checks": []}, "the state is damaged: t0 must be None or an integer from 0 on"),
        ({"swapped": False, "t0": 1, "checks": ["x"]}, "the state is damaged: checks must be numbers"),
    ],
)
def test_a_damaged_state_changes_nothing(wrong: Any, message: str) -> None:
    model = build(ASGD(0.5))
    train(model, batches(3))
    good = model.get_state()
    before = copy.deepcopy(good)
    arrays = {name: array + 1 for name, array in good.arrays.items()}
    with pytest.raises(ValueError, match=message):
        model.set_state(ModelState(arrays, good.values | {"optimizer": wrong}))
    assert model.get_state().values == before.values
    for name, array in model.get_state().arrays.items():
        np.testing.assert_array_equal(array, before.arrays[name])


def test_a_state_from_before_there_were_averages_is_read() -> None:
    model = build(Adam())
    train(model, batches(2))
    state = model.get_state()
    del state.values["optimizer"]
    model.set_state(state)
    assert model.optimizer.iterations == 2
