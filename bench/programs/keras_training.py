"""Keras on TensorFlow: ``train_on_batch`` of a compiled model. XLA made it 10 to 20 % slower on a CPU."""

from typing import Any

import keras
import tensorflow

from bench.configs import BETA_1, BETA_2, CLIP_NORM, EPSILON, LEARNING_RATE, Config, Float, Ids
from bench.programs import Step

CELLS = {"rnn": keras.layers.SimpleRNN, "gru": keras.layers.GRU, "lstm": keras.layers.LSTM}


class KerasProgram:
    def __init__(self, config: Config, weights: list[Float]) -> None:
        ids = keras.Input(batch_shape=(config.batch, config.steps), dtype="int32")
        x = keras.layers.Embedding(config.vocabulary, config.embedding)(ids)
        for _ in range(config.layers):
            x = CELLS[config.cell](config.units, return_sequences=True, stateful=True)(x)
        self.model: Any = keras.Model(ids, keras.layers.Dense(config.vocabulary)(x))
        self.model.compile(
            optimizer=keras.optimizers.Adam(LEARNING_RATE, BETA_1, BETA_2, EPSILON, global_clipnorm=CLIP_NORM),
            loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            jit_compile=False,
        )
        self.model.set_weights(weights)

    def step(self, ids: Ids, targets: Ids) -> float:
        self.model.reset_metrics()  # or the mean over all steps would come back
        return float(self.model.train_on_batch(ids, targets))


def build(config: Config, weights: list[Float], threads: int, dtype: str = "float32") -> Step:
    del dtype
    tensorflow.config.threading.set_intra_op_parallelism_threads(threads)
    tensorflow.config.threading.set_inter_op_parallelism_threads(threads)
    return KerasProgram(config, weights).step
