"""A network that classifies sequences of ids, or their steps, as the C library runs it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .. import narrow
from ..files import check_target, replace_folder, write_json, write_safetensors
from ..layers import GRU, GlobalMaxPooling1D
from ..layers.recurrent import Recurrent
from ..model import Model
from ..precision import PRECISIONS, Precision
from ..text.corpus import PathLike
from ..typing import Float
from .chain import Chain

KIND = "exported_classifier"
FORMAT_VERSION = 1
_FILES = ("config.json", "model.safetensors")


def export_classifier(
    model: Model, folder: PathLike, *, labels: Sequence[str] | None = None, precision: Precision = "float32"
) -> None:
    """Write ``model`` for ``recurlm_classifier_open`` of the C library; Python does not load it.

    It is Embedding, recurrent layers of one kind and width that read in one direction or in both (``Bidirectional``,
    ``concat``), pooling or none, Dense: a classifier, or where the last recurrent layer returns sequences and nothing
    pools them, a tagger of every step. Dropout stays behind. Its inputs are ids; with ``mask_zero`` 0 is padding.

    Args:
        labels: what the classes are called; None: their numbers.
        precision: ``"bfloat16"`` or ``"int8"`` take a half or a quarter of the bytes.

    Raises:
        ValueError: the model is not such, ``labels`` are not as many as its classes, or ``folder`` holds something
            else.
        FloatingPointError: a weight is not finite, and the precision is not float32.

    >>> from recurlm import Input, Model
    >>> from recurlm.layers import LSTM, Bidirectional, Dense, Embedding
    >>> ids = Input((None,), dtype="int32")
    >>> x = Bidirectional(LSTM(8, return_sequences=True))(Embedding(100, 8, mask_zero=True)(ids))
    >>> tagger = Model(ids, Dense(3, "softmax")(x))
    >>> export_classifier(tagger, "tagger", labels=["noun", "verb", "other"])
    """
    if precision not in PRECISIONS:
        raise ValueError(f"precision must be one of {', '.join(PRECISIONS)}, got {precision!r}")
    chain = Chain.of(model)
    _check(chain, model)
    assert chain.dense is not None
    names = [str(place) for place in range(chain.dense.units)] if labels is None else list(labels)
    if len(names) != chain.dense.units or not all(isinstance(name, str) for name in names):
        raise ValueError(f"labels must be {chain.dense.units} texts, one for each class, got {names!r}")
    with model.usage.reading():
        weights = narrow.narrowed(_weights(chain), precision)
    with replace_folder(check_target(Path(folder), {"kind": KIND}, _FILES)) as temporary:
        write_json(temporary / "config.json", _config(chain, names, precision))
        write_safetensors(temporary / "model.safetensors", narrow.to_arrays(weights))


def _check(chain: Chain, model: Model) -> None:
    """ValueError unless the C library can run it."""
    if chain.embedding is None or chain.dense is None:
        raise ValueError(f"{model.name} must begin with an Embedding and end with a Dense")
    if chain.dense.activation not in ("softmax", "linear"):
        raise ValueError(f"{chain.dense.name} must have softmax or no activation, got {chain.dense.activation}")
    if not chain.uniform:
        raise ValueError(f"{model.name} must have recurrent layers of one kind, width and direction")
    cell = chain.cells(chain.recurrent[0])[0]
    if cell.activation != "tanh" or (isinstance(cell, GRU) and not cell.reset_after):
        raise ValueError(f"{cell.name} must have the activation tanh, and as a GRU reset_after=True")


def _config(chain: Chain, labels: list[str], precision: Precision) -> dict[str, Any]:
    assert chain.embedding is not None
    cells = chain.cells(chain.recurrent[0])
    return {
        "format_version": FORMAT_VERSION,
        "kind": KIND,
        "precision": precision,
        "parameters": {
            "cell": cells[0].kind,
            "units": cells[0].units,
            "layers": len(chain.recurrent),
            "bidirectional": len(cells) == 2,
            "pooling": _pooling(chain),
            "embedding_dim": chain.embedding.output_dim,
        },
        "classes": {"values": labels},
        "input": {
            "kind": "ids",
            "arguments": {"limit": chain.embedding.input_dim - 1, "mask_zero": chain.embedding.mask_zero},
        },
    }


def _pooling(chain: Chain) -> str:
    if chain.pooling is not None:
        return "max" if isinstance(chain.pooling, GlobalMaxPooling1D) else "mean"
    return "none" if chain.cells(chain.recurrent[-1])[0].return_sequences else "last"


def _weights(chain: Chain) -> dict[str, Float]:
    """Under the names that a ``SequenceClassifier`` gives them."""
    assert chain.embedding is not None
    assert chain.dense is not None
    dense = chain.dense
    bias = np.zeros(dense.units, np.float32) if dense.bias is None else dense.bias.value
    kernel = np.ascontiguousarray(dense.kernel.value.T) if dense.transposed else dense.kernel.value
    weights = {"embedding.embeddings": chain.embedding.embeddings.value, "classes.kernel": kernel, "classes.bias": bias}
    for place, layer in enumerate(chain.recurrent):
        cells = chain.cells(layer)
        name = f"{cells[0].kind}_{place}"
        names = [f"both_{name}.{way}_layer" for way in ("forward", "backward")] if len(cells) == 2 else [name]
        for prefix, cell in zip(names, cells, strict=True):
            weights |= {f"{prefix}.{part}": value for part, value in _cell_weights(cell).items()}
    return weights


def _cell_weights(cell: Recurrent) -> dict[str, Float]:
    weights: dict[str, Float] = {name: parameter.value for name, parameter in cell.named_weights().items()}
    return {"bias": np.zeros(cell.bias_shape(), np.float32)} | weights
