"""recurlm through its public API, as a user would write it."""

import warnings
from typing import Any

import recurlm
from bench.configs import BETA_1, BETA_2, CLIP_NORM, EPSILON, LEARNING_RATE, Config, Float, Ids
from bench.programs import Step
from bench.programs.recurlm_attention import attention_layers
from recurlm import Input, Model
from recurlm.layers import GRU, LSTM, Dense, Embedding, SimpleRNN
from recurlm.optimizers import Adam, Optimizer

CELLS: dict[str, type[GRU] | type[LSTM] | type[SimpleRNN]] = {"rnn": SimpleRNN, "gru": GRU, "lstm": LSTM}


def language_model(config: Config, weights: list[Float], optimizer: Optimizer, dtype: Any = "float32") -> Model:
    """The configuration's model, compiled, with its state carried from batch to batch.

    UserWarning where the processor has no such dtype, so that its figures cannot be those of another.
    """
    ids = Input(shape=(None,), dtype="int32")
    x = Embedding(config.vocabulary, config.embedding)(ids)
    if config.cell == "attention":
        x = attention_layers(config, x)
    else:
        for _ in range(config.layers):
            x = CELLS[config.cell](config.units, return_sequences=True, stateful=True)(x)
    model = Model(ids, Dense(config.vocabulary, activation="softmax")(x))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.compile(optimizer=optimizer, loss="sparse_categorical_crossentropy", dtype=dtype)
    model.set_weights(weights)
    return model


def build(config: Config, weights: list[Float], threads: int, dtype: str = "float32") -> Step:
    recurlm.set_num_threads(threads)
    adam = Adam(LEARNING_RATE, beta_1=BETA_1, beta_2=BETA_2, epsilon=EPSILON, global_clipnorm=CLIP_NORM)
    model = language_model(config, weights, adam, dtype)

    def step(ids: Ids, targets: Ids) -> float:
        return float(model.train_on_batch(ids, targets))

    return step


def executed_flops(config: Config, distinct: float) -> float:
    """The products as the core forms them: on panels of 32 columns, to which its packed layout pads.

    Those of the first layer's input are formed once for each different token of a window.

    A panel holds 32 units of one gate, or 16 units of two of an LSTM's four gates. With attention, as counted.
    """
    if config.cell == "attention":
        return config.counted_flops
    block = 16 if config.cell == "lstm" else 32
    gates = config.gates * padded(config.units, block)
    multiplied = 0.0  # weights times rows
    rows = distinct
    for dim in config.input_dims:
        multiplied += (2 * dim + padded(dim, 32)) * gates * rows
        multiplied += (2 * config.units + padded(config.units, 32)) * gates * config.tokens
        rows = config.tokens
    multiplied += padded(config.vocabulary, 32) * (2 * config.units + padded(config.units, 32)) * config.tokens
    return 2 * multiplied


def padded(size: int, block: int) -> int:
    return -(-size // block) * block
