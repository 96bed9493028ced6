"""Initial values of weights, with Keras's names, arguments and defaults.

>>> from recurlm import initializers
>>> initializers.GlorotUniform(seed=1)((2, 3)).shape
(2, 3)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from . import _core
from .naming import resolve
from .seeding import next_generator
from .typing import Float

Shape = Sequence[int]


class Initializer:
    """Maps a shape to a float32 array. Configuration is whatever the constructor took."""

    def __call__(self, shape: Shape) -> Float:
        raise NotImplementedError

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return dict(vars(self))

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Initializer:
        """The inverse of ``get_config``."""
        return cls(**config)


class Constant(Initializer):
    """Every element is ``value``."""

    def __init__(self, value: float = 0.0) -> None:
        self.value = value

    def __call__(self, shape: Shape) -> Float:
        return np.full(shape, self.value, np.float32)


class Zeros(Initializer):
    """All zeros."""

    def __call__(self, shape: Shape) -> Float:
        return np.zeros(shape, np.float32)


class Ones(Initializer):
    """All ones."""

    def __call__(self, shape: Shape) -> Float:
        return np.ones(shape, np.float32)


class Identity(Initializer):
    """The identity matrix times ``gain``, with zeros beside it where the shape is no square (Le et al., 2015)."""

    def __init__(self, gain: float = 1.0) -> None:
        self.gain = gain

    def __call__(self, shape: Shape) -> Float:
        if len(shape) != 2:
            raise ValueError(f"Identity needs a shape of two dimensions, got {tuple(shape)}")
        return np.asarray(np.float32(self.gain) * np.eye(*shape, dtype=np.float32))


class RandomUniform(Initializer):
    """Uniform from ``minval`` to ``maxval``."""

    def __init__(self, minval: float = -0.05, maxval: float = 0.05, seed: int | None = None) -> None:
        self.minval, self.maxval, self.seed = minval, maxval, seed

    def __call__(self, shape: Shape) -> Float:
        return _uniform(next_generator(self.seed), shape, self.minval, self.maxval)


class RandomNormal(Initializer):
    """Normal with ``mean`` and ``stddev``."""

    def __init__(self, mean: float = 0.0, stddev: float = 0.05, seed: int | None = None) -> None:
        self.mean, self.stddev, self.seed = mean, stddev, seed

    def __call__(self, shape: Shape) -> Float:
        return _scaled(next_generator(self.seed).standard_normal(tuple(shape), np.float32), self.stddev, self.mean)


class TruncatedNormal(RandomNormal):
    """Normal, with draws farther than two standard deviations from the mean drawn again."""

    def __call__(self, shape: Shape) -> Float:
        return _truncated_normal(next_generator(self.seed), shape, self.mean, self.stddev)


class VarianceScaling(Initializer):
    """Zero mean and variance ``scale / n``, where n is the ``mode``: fan_in, fan_out or fan_avg.

    ``distribution`` is truncated_normal, untruncated_normal or uniform.
    """

    def __init__(
        self,
        scale: float = 1.0,
        mode: str = "fan_in",
        distribution: str = "truncated_normal",
        seed: int | None = None,
    ) -> None:
        if mode not in ("fan_in", "fan_out", "fan_avg"):
            raise ValueError(f"mode must be fan_in, fan_out or fan_avg, got {mode!r}")
        if distribution not in ("truncated_normal", "untruncated_normal", "uniform"):
            raise ValueError(
                f"distribution must be truncated_normal, untruncated_normal or uniform, got {distribution!r}"
            )
        self.scale, self.mode, self.distribution, self.seed = scale, mode, distribution, seed

    def __call__(self, shape: Shape) -> Float:
        fan_in, fan_out = _fans(shape)
        fan = {"fan_in": fan_in, "fan_out": fan_out, "fan_avg": (fan_in + fan_out) / 2}[self.mode]
        variance = self.scale / max(1.0, fan)
        generator = next_generator(self.seed)
        if self.distribution == "uniform":
            limit = math.sqrt(3.0 * variance)
            return _uniform(generator, shape, -limit, limit)
        if self.distribution == "untruncated_normal":
            return _scaled(generator.standard_normal(tuple(shape), np.float32), math.sqrt(variance))
        # Cutting at two standard deviations leaves 0.8796 of one.
        return _truncated_normal(generator, shape, 0.0, math.sqrt(variance) / 0.87962566103423978)


class _Scaled(VarianceScaling):
    """A VarianceScaling with everything but the seed fixed."""

    arguments: tuple[float, str, str]

    def __init__(self, seed: int | None = None) -> None:
        super().__init__(*self.arguments, seed=seed)

    def get_config(self) -> dict[str, Any]:
        return {"seed": self.seed}


class GlorotUniform(_Scaled):
    """Uniform within ``sqrt(6 / (fan_in + fan_out))`` (Glorot and Bengio, 2010)."""

    arguments = (1.0, "fan_avg", "uniform")


class GlorotNormal(_Scaled):
    """Truncated normal with variance ``2 / (fan_in + fan_out)`` (Glorot and Bengio, 2010)."""

    arguments = (1.0, "fan_avg", "truncated_normal")


class HeUniform(_Scaled):
    """Uniform within ``sqrt(6 / fan_in)`` (He et al., 2015)."""

    arguments = (2.0, "fan_in", "uniform")


class HeNormal(_Scaled):
    """Truncated normal with variance ``2 / fan_in`` (He et al., 2015)."""

    arguments = (2.0, "fan_in", "truncated_normal")


class LecunUniform(_Scaled):
    """Uniform within ``sqrt(3 / fan_in)``."""

    arguments = (1.0, "fan_in", "uniform")


class LecunNormal(_Scaled):
    """Truncated normal with variance ``1 / fan_in``."""

    arguments = (1.0, "fan_in", "truncated_normal")


class Orthogonal(Initializer):
    """A random matrix with orthonormal rows or columns, whichever are fewer, times ``gain``.

    It is the orthogonal factor of a normal matrix's polar decomposition, which is as uniformly distributed as that of
    its QR decomposition, and needs products only: those of the core, which do not depend on the number of threads.
    """

    def __init__(self, gain: float = 1.0, seed: int | None = None) -> None:
        self.gain, self.seed = gain, seed

    def __call__(self, shape: Shape) -> Float:
        if len(shape) < 2:
            raise ValueError(f"Orthogonal needs a shape of at least two dimensions, got {tuple(shape)}")
        rows, columns = math.prod(shape[:-1]), shape[-1]
        tall = next_generator(self.seed).standard_normal((max(rows, columns), min(rows, columns)), np.float32)
        matrix = _orthonormal_columns(tall)
        return _scaled(np.ascontiguousarray(matrix if rows >= columns else matrix.T).reshape(shape), self.gain)


def _orthonormal_columns(matrix: Float) -> Float:
    """Polar factor of ``matrix`` (m, n), m >= n, by Newton and Schulz: X <- X (3 I - X'X) / 2."""
    rows, columns = matrix.shape
    if matrix.size == 0:
        return matrix
    workspace = _core.Workspace()
    # The spectral norm of a normal matrix is close to sqrt(m) + sqrt(n); the iteration converges below sqrt(3).
    x = _scaled(matrix, 1 / (math.sqrt(rows) + math.sqrt(columns)))
    gram = np.empty((columns, columns), np.float32)
    following = np.empty_like(x)
    for _ in range(100):
        _core.linear_forward(np.ascontiguousarray(x.T), x, None, gram, workspace)
        error = float(np.abs(gram - np.eye(columns, dtype=np.float32)).max())
        if error < 2e-6:
            break
        gram *= np.float32(-0.5)
        gram[np.diag_indices(columns)] += np.float32(1.5)
        _core.linear_forward(x, gram, None, following, workspace)
        x, following = following, x
    return x


def _fans(shape: Shape) -> tuple[float, float]:
    if len(shape) < 1:
        return 1.0, 1.0
    if len(shape) == 1:
        return float(shape[0]), float(shape[0])
    receptive = math.prod(shape[:-2])
    return float(shape[-2] * receptive), float(shape[-1] * receptive)


def _uniform(generator: np.random.Generator, shape: Shape, low: float, high: float) -> Float:
    return _scaled(generator.random(tuple(shape), np.float32), high - low, low)


def _truncated_normal(generator: np.random.Generator, shape: Shape, mean: float, stddev: float) -> Float:
    values = generator.standard_normal(tuple(shape), np.float32)
    while (outside := np.abs(values) > 2).any():
        values[outside] = generator.standard_normal(int(outside.sum()), np.float32)
    return _scaled(values, stddev, mean)


def _scaled(values: Float, factor: float, offset: float = 0.0) -> Float:
    """``values * factor + offset``, in place."""
    values *= np.float32(factor)
    values += np.float32(offset)
    return values


_CLASSES: dict[str, Callable[..., Initializer]] = {
    cls.__name__: cls
    for cls in (
        *(
            Constant,
            Zeros,
            Ones,
            Identity,
            RandomUniform,
            RandomNormal,
            TruncatedNormal,
            VarianceScaling,
            GlorotUniform,
        ),
        *(GlorotNormal, HeUniform, HeNormal, LecunUniform, LecunNormal, Orthogonal),
    )
}
_ALIASES: dict[str, Callable[..., Initializer]] = {"uniform": RandomUniform, "normal": RandomNormal}


def get(identifier: Any) -> Callable[[Shape], Any]:
    """An initializer from its name, its serialized form, or itself; any callable of a shape is taken as it is."""
    initializer: Callable[[Shape], Any] = resolve("initializer", identifier, _CLASSES | _ALIASES)
    return initializer


def serialize(initializer: Any) -> dict[str, Any]:
    """``{"class_name", "config"}``; ValueError for a callable that is not one of ours."""
    if not isinstance(initializer, Initializer):
        raise ValueError(f"only the initializers of recurlm.initializers can be saved, got {initializer!r}")
    return {"class_name": type(initializer).__name__, "config": initializer.get_config()}
