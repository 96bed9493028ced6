"""Spaces of arguments: what each entry may be."""

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("optuna")

from recurlm.tuning import Space

SPACE: dict[str, Any] = {"units": {"type": "int", "low": 4, "high": 32, "log": True}, "epochs": 3}


@pytest.mark.parametrize(
    ("entry", "sentence"),
    [
        ({"unit": 3}, "key 'unit' is no argument of a language model; known are cell, units"),
        ({"verbose": True}, "key 'verbose' is no argument"),
        ({"units": [1, 2]}, "key 'units' must be a value or an object with a type, got list"),
        ({"units": {"low": 1, "high": 2}}, "key 'units' must have a type, one of int, float, categorical, got None"),
        ({"units": {"type": "int", "low": 1}}, "key 'units': high must be an integer, got None"),
        ({"units": {"type": "int", "low": 1.5, "high": 2}}, "key 'units': low must be an integer, got 1.5"),
        ({"units": {"type": "int", "low": 8, "high": 2}}, "key 'units': low must be at most high"),
        ({"units": {"type": "int", "low": 0, "high": 2}}, "key 'units': units must be an integer from 1"),
        ({"units": {"type": "int", "low": 1, "high": 2, "base": 2}}, "key 'units': a int has no field 'base'"),
        ({"units": {"type": "int", "low": 1, "high": 2, "log": 1}}, "key 'units': log must be true or false, got 1"),
        ({"units": {"type": "int", "low": 1, "high": 9, "log": True, "step": 2}}, "log needs a positive low and no st"),
        ({"units": {"type": "int", "low": 1, "high": 9, "step": 0}}, "key 'units': step must be positive, got 0"),
        ({"dropout": {"type": "float", "low": 0, "high": float("inf")}}, "low must be at most high, and both finite"),
        ({"dropout": {"type": "float", "low": 0, "high": 1}}, "key 'dropout': dropout must be at least 0 and below 1"),
        ({"cell": {"type": "categorical", "choices": []}}, r"key 'cell': choices must be a list of values, got \[\]"),
        ({"cell": {"type": "categorical", "choices": ["lstm", "mlp"]}}, "key 'cell': cell must be one of"),
        ({"schedule": "step"}, "key 'schedule': schedule must be"),
        ({"window": 0}, "key 'window': window must be at least 1, got 0"),
        ({"epochs": "many"}, "key 'epochs': epochs must be an integer, got 'many'"),
        ({"validation_split": 1}, "key 'validation_split': validation_split must be at least 0 and below 1"),
        ({"tokenizer": {"type": "categorical", "choices": ["char", "byte"]}}, "key 'tokenizer' must be one value"),
        ({"tokenizer": "letters"}, "key 'tokenizer': tokenizer must be one of char"),
        ({"tokenizer": {"size": 3}}, "key 'tokenizer': kind must be one of char, byte, word, bpe, got None"),
        ({"tokenizer": {"kind": "word", "words": 3}}, "key 'tokenizer': the tokenizer 'word' has no argument 'words'"),
        ({"tokenizer": {"kind": "char", "size": 3}}, "key 'tokenizer': the tokenizer 'char' has no argument 'size'"),
        ({"tokenizer": {"kind": ["word"]}}, "key 'tokenizer': kind must be one of char"),
        ({"tokenizer": {"kind": "word", "size": 9.5}}, "key 'tokenizer': size must be an integer from 4 on"),
        ({"tokenizer": {"kind": "word", "minimum_count": "2"}}, "key 'tokenizer': minimum_count must be an integer"),
        ({"tokenizer": 3}, "key 'tokenizer': tokenizer must be a kind or an object with one, got int"),
        ({"tokenizer": {"kind": "bpe", "size": 3}}, "key 'tokenizer': size must be an integer from 259 on"),
    ],
)  # fmt: skip
def test_a_bad_space_gets_a_sentence_with_its_key(entry: dict[str, Any], sentence: str, tmp_path: Path) -> None:
    path = tmp_path / "space.json"
    path.write_text(json.dumps(SPACE | entry))
    with pytest.raises(ValueError, match=f"space.json: .*{sentence}"):
        Space.of(path)


def test_a_space_that_is_none(tmp_path: Path) -> None:
    path = tmp_path / "space.json"
    with pytest.raises(FileNotFoundError, match=r"there is no file .*space\.json"):
        Space.of(path)
    for contents, sentence in (("{", "not valid JSON"), ("[]", "an object of arguments"), ('{"units": 3}', "only fix")):
        path.write_text(contents)
        with pytest.raises(ValueError, match=sentence):
            Space.of(path)
