"""Models and weights of Keras 3: ``.keras`` files in, ``.weights.h5`` files in and out. Keras itself is not needed.

No code in a file is run, and no other file opened that it names. But HDF5's own library reads the weights, and one in
thousands of damaged files was seen to make it fill the memory: read files of strangers in a process that may fail.
"""

from __future__ import annotations

import io
import json
import struct
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from ..extras import needing
from ..files import DamagedFileError, atomic_path
from ..layers import Dense, Layer, MultiHeadAttention
from ..layers.recurrent import Recurrent
from ..model import Model
from ..naming import snake_case
from ..tape import Parameter
from ..text.corpus import PathLike
from ..typing import Float
from .keras_config import Built, Parts, build

_PROJECTIONS = {"query": "query_dense", "key": "key_dense", "value": "value_dense", "attention_output": "output_dense"}

# What reading strange bytes from memory, and a strange architecture, were seen to raise.
_STRANGE = (
    *(zipfile.BadZipFile, zlib.error, struct.error, EOFError, OSError, RuntimeError, UnicodeDecodeError),
    *(LookupError, TypeError, AttributeError, ArithmeticError),
)

Values = list[tuple[Parameter, Float]]
Places = list[tuple[str, list[Parameter]]]  # groups of a file, and the parameters whose values they hold in order


def load_keras(path: PathLike) -> Model:
    """The model in a ``.keras`` file of Keras 3, without its optimizer; needs h5py (``[keras]``).

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no such file, or has a layer, an argument or an operation that recurlm has not.
    """
    content = Path(path).read_bytes()
    with _damages(path), zipfile.ZipFile(io.BytesIO(content)) as archive:
        if sum(member.file_size for member in archive.infolist()) > len(content):
            raise DamagedFileError(f"{path} is compressed, which Keras's files are not")
        config, weights = json.loads(archive.read("config.json")), archive.read("model.weights.h5")
    with _damages(path):
        built = build(config)
    with _damages(path), _open_h5(io.BytesIO(weights)) as file:
        values = _values(file, _places(built.parts), str(path))
    _assign(values)
    return built.model


def load_keras_weights(model: Model, path: PathLike) -> None:
    """Read a ``.weights.h5`` file of Keras 3 into a model of the same layers; needs h5py (``[keras]``).

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no such file, or one of other layers; then nothing has changed.
    """
    content = io.BytesIO(Path(path).read_bytes())
    with _damages(path), _open_h5(content) as file:
        values = _values(file, _places_of(model), str(path))
    with model.usage.training():
        model.forget_averages()
        _assign(values)


def save_keras_weights(model: Model, path: PathLike) -> None:
    """Write a ``.weights.h5`` file for ``load_weights`` of a model of the same layers in Keras 3; needs h5py.

    Raises:
        ValueError: the model has a tied layer, which Keras has not.
    """
    for layer in (inner for outer in model.layers for inner in outer.flatten()):
        if isinstance(layer, Dense) and layer.tied_to is not None:
            raise ValueError(f"{layer.name} is tied to {layer.tied_to.name}: Keras has no such layer")
    with model.usage.reading(), atomic_path(path) as temporary, _open_h5(temporary, "w") as file:
        for place, parameters in _places_of(model):
            group = file.create_group(place)
            for i, parameter in enumerate(parameters):
                group[str(i)] = parameter.value


@contextmanager
def _damages(path: PathLike) -> Iterator[None]:
    """Whatever strange bytes raise becomes a sentence."""
    try:
        yield
    except json.JSONDecodeError as error:
        raise DamagedFileError(f"{path}: its config.json is damaged ({error})") from None
    except _STRANGE as error:
        why = " ".join(f"{type(error).__name__}: {error}".split())
        raise DamagedFileError(f"{path} is damaged, or no file of Keras 3 ({why})") from None


def _open_h5(file: Any, mode: str = "r") -> Any:
    with needing("keras"):
        import h5py
    return h5py.File(file, mode)


# Where weights stand -------------------------------------------------------------------------------------------------


def _places_of(model: Model) -> Places:
    return _places([(type(layer).__name__, layer) for layer in model.layers])


def _places(parts: Parts, folder: str = "layers") -> Places:
    """Keras names a layer by its class and how many of that came before it."""
    counts: Counter[str] = Counter()
    places: Places = []
    for kind, part in parts:
        base = snake_case(kind)
        name = f"{folder}/{base}_{counts[base]}" if counts[base] else f"{folder}/{base}"
        counts[base] += 1
        places += _places(part.parts, f"{name}/layers") if isinstance(part, Built) else _inside(part, name)
    return places


def _inside(layer: Layer, name: str) -> Places:
    if isinstance(layer, Recurrent):
        return [(f"{name}/cell/vars", layer.weights)]
    if isinstance(layer, MultiHeadAttention):
        groups: dict[str, list[Parameter]] = {}
        for weight, parameter in layer.named_weights().items():
            groups.setdefault(_PROJECTIONS[weight.split(".")[0]], []).append(parameter)
        return [(f"{name}/{projection}/vars", parameters) for projection, parameters in groups.items()]
    if inner := layer.sublayers():
        return [place for key, each in inner.items() for place in _inside(each, f"{name}/{key}")]
    return [(f"{name}/vars", layer.weights)]


def _values(file: Any, places: Places, source: str) -> Values:
    """What stands in the file for each parameter; ValueError unless it holds just these arrays."""
    arrays = dict(_datasets(file))
    values: Values = []
    for place, parameters in places:
        for i, parameter in enumerate(parameters):
            found = arrays.pop(f"{place}/{i}", None)
            if found is None or found.shape != parameter.shape:
                got = "nothing" if found is None else f"shape {found.shape}"
                raise ValueError(f"{source}: expected {parameter.shape} in {place}/{i}, got {got}")
            values.append((parameter, np.asarray(found[...], np.float32)))
    if arrays:
        raise ValueError(f"{source} has {next(iter(arrays))}, for which the model has no weight")
    return values


def _assign(values: Values) -> None:
    for parameter, value in values:
        parameter.assign(value)


def _datasets(file: Any) -> Iterable[tuple[str, Any]]:
    """Those under ``layers`` that are weights; links are not followed, least of all to other files."""
    import h5py

    found: list[tuple[str, Any]] = []

    def visit(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset) and name.startswith("layers/") and "/seed_generator/" not in name:
            if item.external or item.is_virtual:
                raise ValueError(f"{name} stands in another file, which is not opened")
            found.append((name, item))

    file.visititems(visit)
    return found
