"""A network of another library with its vocabulary, as a language model."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..language_model import LanguageModel
from ..language_model.architecture import Architecture
from ..layers import GRU
from ..model import Model
from ..text.tokenizer import BOS, EOS, UNKNOWN, Tokenizer
from ..text.tokenizers import KINDS
from ..typing import Float
from .chain import Chain

# How far below all others the bias of a token lies that the other vocabulary lacks: its probability is 0, and the
# logarithm of that finite.
_NEVER = 1e4


def language_model(
    model: Model, tokens: Sequence[str], tokenizer: str = "word", *, bos: str | None = None
) -> LanguageModel:
    """A language model from a network of Embedding, recurrent layers of one kind and width, and Dense.

    Args:
        model: predicts the next of its ids, as logits or probabilities.
        tokens: the text of every id, in order.
        tokenizer: ``"char"``, ``"word"``, or ``"byte"`` where the ids are the 256 bytes (``tokens`` is then ignored).
        bos: the token that stands for the beginning of a text, which most others have no token for: ``<bos>`` gets its
            vector. None: ``<eos>`` or the end of line where there is one, else zeros.

    Raises:
        ValueError: the network is not such, or ``tokens`` are not those of its ids or of the tokenizer.
    """
    chain = Chain.of_weights(model)
    table, dense = chain.embedding, chain.dense
    if table is None or dense is None or dense.units != table.input_dim:
        raise ValueError("a language model is an Embedding, recurrent layers and a Dense over the ids of the Embedding")
    if dense.activation not in ("linear", "softmax"):
        raise ValueError(f"{dense.name} must give logits or probabilities, its activation is {dense.activation}")
    _check_cells(chain)
    names = [chr(byte) for byte in range(256)] if tokenizer == "byte" else list(tokens)
    if tokenizer == "word" and EOS not in names:
        names = [EOS if name == "\n" else name for name in names]
    if len(names) != table.input_dim or len(set(names)) != len(names):
        raise ValueError(f"tokens must be {table.input_dim:,} different ones, one for each id, got {len(names):,}")
    made = _make_tokenizer(tokenizer, names)
    places = _places(made, names)
    lm = LanguageModel.assemble(_architecture(chain), made, separate_texts=False)
    weights = _vocabulary_weights(chain, places, _beginning(names, bos)) | _cell_weights(chain)
    for name, parameter in lm.weights.make_network(initial=False).named_weights().items():
        parameter.assign(weights[name])
    return lm


def _check_cells(chain: Chain) -> None:
    cells = [cell for layer in chain.recurrent for cell in chain.cells(layer)]
    for cell in cells:
        if not chain.uniform or len(cells) > len(chain.recurrent):
            raise ValueError(f"{cell.name}: recurrent layers must be of one kind and width, and read forward")
        if cell.activation != "tanh" or (isinstance(cell, GRU) and not cell.reset_after) or not cell.return_sequences:
            raise ValueError(f"{cell.name} must return sequences, with tanh, and as a GRU reset_after=True")


def _make_tokenizer(kind: str, tokens: Sequence[str]) -> Tokenizer:
    """ValueError where ``tokens`` cannot be those of the ``kind``."""
    fields: dict[str, dict[str, object]] = {
        "char": {"characters": "".join(sorted(set(tokens) - {BOS}))},
        "word": {"size": None, "minimum_count": 1, "pattern": None},
        "byte": {},
    }
    if kind not in fields:
        raise ValueError(f"tokenizer must be char, word or byte, got {kind!r}")
    if kind == "char" and any(len(token) != 1 for token in tokens if token != BOS):
        long = next(token for token in tokens if len(token) != 1 and token != BOS)
        raise ValueError(f"the token {long!r} is no character")
    fields["word"]["words"] = [token for token in tokens if token not in (BOS, UNKNOWN, EOS)]
    return KINDS[kind]._from_vocabulary(fields[kind])


def _places(tokenizer: Tokenizer, tokens: Sequence[str]) -> list[int]:
    """Where each token of ours stands among theirs; -1 where it does not."""
    ids = {token: i for i, token in enumerate(tokens)}
    if tokenizer.kind == "byte":
        return [*range(256), -1]
    return [ids.get(token, -1) for token in tokenizer.tokens]


def _beginning(tokens: Sequence[str], bos: str | None) -> int:
    """The id whose vector ``<bos>`` gets; -1 for zeros."""
    if bos is not None and bos not in tokens:
        raise ValueError(f"bos must be one of the tokens, got {bos!r}")
    candidates = (bos,) if bos is not None else (EOS, "\n")
    return next((list(tokens).index(token) for token in candidates if token in tokens), -1)


def _architecture(chain: Chain) -> Architecture:
    assert chain.embedding is not None
    assert chain.dense is not None
    (cell, *_) = chain.cells(chain.recurrent[0])
    return Architecture(
        cell=cell.kind,
        units=cell.units,
        layers=len(chain.recurrent),
        embedding_dim=chain.embedding.output_dim,
        dropout=0.0,
        tie_weights=chain.dense.transposed,
        seed=0,
    )


def _vocabulary_weights(chain: Chain, places: list[int], beginning: int) -> dict[str, Float]:
    """Rows and columns in the order of our ids."""
    assert chain.embedding is not None
    assert chain.dense is not None
    there = np.array(places) >= 0
    rows = np.where(there, places, beginning)  # of a vector for a token that is not there
    table = np.where((rows >= 0)[:, None], chain.embedding.embeddings.value[rows], np.float32(0))
    bias = np.zeros(len(places), np.float32)
    if chain.dense.bias is not None:
        bias[there] = chain.dense.bias.value[np.array(places)[there]]
    bias[~there] = (bias[there].min() if there.any() else 0) - _NEVER
    weights: dict[str, Float] = {"embedding.embeddings": table, "projection.bias": bias}
    if not chain.dense.transposed:
        weights["projection.kernel"] = np.where(there, chain.dense.kernel.value[:, places], np.float32(0))
    return weights


def _cell_weights(chain: Chain) -> dict[str, Float]:
    weights: dict[str, Float] = {}
    for place, layer in enumerate(chain.recurrent):
        cell = chain.cells(layer)[0]
        weights |= {f"{cell.kind}_{place}.{name}": p.value for name, p in cell.named_weights().items()}
        weights.setdefault(f"{cell.kind}_{place}.bias", np.zeros(cell.bias_shape(), np.float32))
    return weights
