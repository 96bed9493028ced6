"""The opponent without a framework: the whole training step in plain NumPy, as fast as its author could make it.

Products go to NumPy's BLAS with its threads, everything else is an in-place ufunc on one thread: that is what plain
NumPy offers. Arrays are allocated once, so that the work of a time step stays in the cache; so does the optimiser's,
which goes through all parameters in blocks.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from bench.configs import BETA_1, BETA_2, CLIP_NORM, EPSILON, LEARNING_RATE, Config, Float, Ids
from bench.programs import Step
from bench.programs.numpy_cells import CELLS, Array, RecurrentLayer

BLOCK = 32_768  # elements the optimiser takes at a time: its five blocks (128 KB each) stay in a core's L2


class NumpyProgram:
    """A language model and its Adam. Parameters and gradients are views of one flat array each."""

    def __init__(self, config: Config, weights: Sequence[Array]) -> None:
        self.config = config
        dtype = weights[0].dtype
        self.flat_parameters = np.concatenate([array.ravel() for array in weights])
        self.flat_gradients = np.zeros_like(self.flat_parameters)
        self.m, self.v = np.zeros_like(self.flat_parameters), np.zeros_like(self.flat_parameters)
        self.scratch = np.empty((2, BLOCK), dtype)
        self.updates = 0
        shapes = [array.shape for array in weights]
        self.parameters = views(self.flat_parameters, shapes)
        self.gradients = views(self.flat_gradients, shapes)
        self.layers: list[RecurrentLayer] = [
            CELLS[config.cell](
                self.parameters[first : first + 3], self.gradients[first : first + 3], config.steps, config.batch
            )
            for first in range(1, 1 + 3 * config.layers, 3)
        ]
        self.x = np.empty((config.tokens, config.embedding), dtype)
        self.logits = np.empty((config.tokens, config.vocabulary), dtype)
        self.dy = np.empty((config.tokens, config.units), dtype)
        self.touched = np.empty(0, np.intp)  # rows of the embedding's gradient that are not zero

    def step(self, ids: Ids, targets: Ids) -> float:
        """One training step on ids and targets (B, T); the mean loss before the update."""
        loss = self.loss_and_gradients(ids, targets)
        self.update()
        return loss

    def loss_and_gradients(self, ids: Ids, targets: Ids) -> float:
        tokens = ids.T.ravel()  # time-major
        table, kernel, bias = self.parameters[0], *self.parameters[-2:]
        hidden = np.take(table, tokens, axis=0, out=self.x, mode="clip")  # "raise" would copy; the ids are valid
        for layer in self.layers:
            hidden = layer.forward(hidden)
        np.matmul(hidden, kernel, out=self.logits)
        self.logits += bias
        loss = softmax_cross_entropy(self.logits, targets.T.ravel())
        dlogits = self.logits
        np.matmul(hidden.T, dlogits, out=self.gradients[-2])
        np.matmul(self.layers[0].ones, dlogits, out=self.gradients[-1])
        dhidden = np.matmul(dlogits, kernel.T, out=self.dy)
        for layer in reversed(self.layers):
            dhidden = layer.backward(dhidden)
        self.embedding_gradient(tokens, dhidden)
        return loss

    def embedding_gradient(self, tokens: Ids, dx: Array) -> None:
        """Sum the rows of dx (T*B, D) by token: sorted runs, many times faster than ``np.add.at``."""
        dtable = self.gradients[0]
        dtable[self.touched] = 0
        order = np.argsort(tokens, kind="stable")
        self.touched, starts = np.unique(tokens[order], return_index=True)
        dtable[self.touched] = np.add.reduceat(dx[order], starts, axis=0)

    def update(self) -> None:
        """Clip by the global norm, then Adam in Keras's form."""
        blocks = [slice(start, start + BLOCK) for start in range(0, self.flat_parameters.size, BLOCK)]
        norm = sum(float(np.dot(g, g)) for g in (self.flat_gradients[block] for block in blocks)) ** 0.5
        scale = CLIP_NORM / max(norm, CLIP_NORM)
        self.updates += 1
        rate = LEARNING_RATE * (1 - BETA_2**self.updates) ** 0.5 / (1 - BETA_1**self.updates)
        for block in blocks:
            self.update_block(block, scale, rate)

    def update_block(self, block: slice, scale: float, rate: float) -> None:
        parameters, g, m, v = self.flat_parameters[block], self.flat_gradients[block], self.m[block], self.v[block]
        scaled, scratch = self.scratch[:, : g.size]
        np.multiply(g, scale * (1 - BETA_1), out=scaled)
        m *= BETA_1
        m += scaled
        np.multiply(g, scale * (1 - BETA_2) ** 0.5, out=scaled)
        scaled *= scaled
        v *= BETA_2
        v += scaled
        np.sqrt(v, out=scratch)
        scratch += EPSILON
        np.divide(m, scratch, out=scratch)
        scratch *= rate
        parameters -= scratch


def softmax_cross_entropy(logits: Array, targets: npt.NDArray[np.integer]) -> float:
    """Mean loss of logits (R, V), which become its gradient."""
    count = np.arange(len(targets))
    logits -= logits.max(axis=1, keepdims=True)
    target_logits = logits[count, targets]
    np.exp(logits, out=logits)
    sums = logits.sum(axis=1)
    loss = np.mean(np.log(sums) - target_logits, dtype=np.float64)
    logits *= (1 / (sums * len(targets)))[:, None]
    logits[count, targets] -= 1 / len(targets)
    return float(loss)


def views(flat: Array, shapes: Sequence[tuple[int, ...]]) -> list[Array]:
    """Consecutive pieces of ``flat`` in the given shapes."""
    ends = np.cumsum([int(np.prod(shape)) for shape in shapes])
    return [piece.reshape(shape) for piece, shape in zip(np.split(flat, ends[:-1]), shapes, strict=True)]


def build(config: Config, weights: list[Float], threads: int, dtype: str = "float32") -> Step:
    """BLAS takes its number of threads from the environment, which is set before the process starts."""
    del threads, dtype
    return NumpyProgram(config, weights).step


def executed_flops(config: Config, distinct: float) -> float:
    """The gradient with respect to the state before the window is the one product it leaves out, once a layer."""
    del distinct
    skipped = 2 * config.batch * config.units * config.gates * config.units * config.layers
    return config.counted_flops - skipped
