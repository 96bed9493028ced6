"""Writes small models for the native tests of the C library: python -m tests.native.write_models FOLDER

One of each tokenizer, each cell, each precision, packed and not, with texts apart and without, and classifiers; a few
kilobytes each.
"""

import sys
from pathlib import Path
from typing import Any

from recurlm import Input, LanguageModel, Model
from recurlm.estimators import SequenceClassifier
from recurlm.interop import export_classifier
from recurlm.layers import LSTM, Bidirectional, Dense, Embedding
from recurlm.precision import Precision
from recurlm.text.bpe import BPETokenizer

TEXT = "the cat sat on the mat\na dog ran after the hat\n" * 20
MODELS: dict[str, tuple[dict[str, Any], str, bool]] = {
    "char": ({"tokenizer": "char", "layers": 2}, "float32", False),
    "byte": ({"tokenizer": "byte", "cell": "gru"}, "int8", False),
    "word": ({"tokenizer": "word", "cell": "rnn", "tie_weights": True}, "bfloat16", False),
    "bpe": ({"cell": "lstm", "tie_weights": True}, "int8", False),
    "packed-char": ({"tokenizer": "char", "cell": "gru", "layers": 2}, "float32", True),
    "packed-word": ({"tokenizer": "word", "tie_weights": True}, "int8", True),
    "packed-bpe": ({"cell": "rnn"}, "bfloat16", True),
}

CLASSIFIERS: dict[str, tuple[dict[str, Any], Precision]] = {
    "classifier-lstm": ({"tokenizer": "char", "bidirectional": True, "layers": 2}, "float32"),
    "classifier-gru": ({"cell": "gru", "bidirectional": True, "pooling": "max"}, "int8"),
    "classifier-rnn": ({"tokenizer": "byte", "cell": "rnn", "pooling": "mean"}, "bfloat16"),
}


def write(folder: Path) -> None:
    for name, (options, precision, packed) in MODELS.items():
        tokenizer = options.get("tokenizer") or BPETokenizer(size=280)
        lm = LanguageModel(units=9, seed=1, **{**options, "tokenizer": tokenizer})
        data = TEXT.splitlines() if name in ("char", "packed-word") else write_text(folder)
        lm.fit(data, epochs=1, batch_size=4, window=8, validation_split=0, verbose=False)
        lm = lm if precision == "float32" else lm.quantize(precision)  # type: ignore[arg-type]
        lm.save(folder / name, packed=packed)
    for name, (options, narrow) in CLASSIFIERS.items():
        classifier = SequenceClassifier(units=5, embedding_dim=4, epochs=1, random_state=1, **options)
        tags = [list(line) for line in TEXT.splitlines()] if name == "classifier-lstm" else None
        classifier.fit(TEXT.splitlines(), ["cat", "dog"] * 20, tags).save(folder / name, precision=narrow)
    ids = Input((None,), dtype="int32")
    x = Bidirectional(LSTM(5, return_sequences=True))(Embedding(9, 4, mask_zero=True)(ids))
    export_classifier(Model(ids, Dense(3)(x)), folder / "classifier-steps", precision="bfloat16")


def write_text(folder: Path) -> Path:
    path = folder / "text.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(TEXT, encoding="utf-8")
    return path


if __name__ == "__main__":
    write(Path(sys.argv[1]))
