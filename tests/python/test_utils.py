import doctest
import importlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import recurlm
from recurlm.utils import pad_sequences, to_categorical


def test_to_categorical() -> None:
    one_hot = to_categorical(np.array([[0, 2], [1, 1]]), 4)
    assert one_hot.dtype == np.float32
    np.testing.assert_array_equal(one_hot, np.eye(4)[[[0, 2], [1, 1]]])
    assert to_categorical([[1], [2]]).shape == (2, 3)
    assert to_categorical([1.0, 0.0]).tolist() == [[0, 1], [1, 0]]
    with pytest.raises(IndexError, match=r"x\[1\] is 3, outside 0 <= id < 3"):
        to_categorical([0, 3], 3)
    with pytest.raises(TypeError, match="x must be integers"):
        to_categorical([0.5])


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [[0, 0, 1], [2, 3, 4], [0, 0, 0]]),
        ({"padding": "post", "value": 9}, [[1, 9, 9], [2, 3, 4], [9, 9, 9]]),
        ({"maxlen": 2}, [[0, 1], [3, 4], [0, 0]]),
        ({"maxlen": 2, "truncating": "post"}, [[0, 1], [2, 3], [0, 0]]),
        ({"maxlen": 4, "padding": "post"}, [[1, 0, 0, 0], [2, 3, 4, 0], [0, 0, 0, 0]]),
    ],
)
def test_pad_sequences(options: dict, expected: list) -> None:
    padded = pad_sequences([[1], [2, 3, 4], []], **options)
    assert padded.dtype == np.int32
    assert padded.tolist() == expected


def test_pad_sequences_of_vectors_and_bad_input() -> None:
    assert pad_sequences([np.ones((2, 3)), np.ones((1, 3))], dtype="float32").shape == (2, 2, 3)
    with pytest.raises(ValueError, match="padding must be 'pre' or 'post', got 'left'"):
        pad_sequences([[1]], padding="left")
    with pytest.raises(ValueError, match="sequences must hold sequences, got int at 0"):
        pad_sequences([1])


@pytest.mark.parametrize(
    "name",
    [
        *("model", "layers.core", "layers.cells", "losses", "metrics", "initializers", "regularizers", "constraints"),
        *("layers.multi_head_attention", "optimizers", "utils", "interop.classifier"),
    ],
)
def test_examples_in_docstrings(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = doctest.testmod(importlib.import_module(f"recurlm.{name}"))
    assert result.failed == 0


def test_importing_brings_no_more_than_it_needs() -> None:
    code = "import sys, recurlm; print(sorted({m.split('.')[0] for m in sys.modules}))"
    modules = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    for heavy in ("tqdm", "safetensors", "tempfile", "shutil", "argparse", "logging"):
        assert f"'{heavy}'" not in modules


@pytest.mark.parametrize("threads", ["2", 1.5, True, None])
def test_a_number_of_threads_that_is_none_is_named(threads: Any) -> None:
    with pytest.raises(TypeError, match=f"^threads must be an integer, got {threads!r}$"):
        recurlm.set_num_threads(threads)


def test_numbers_of_threads(threads: int) -> None:
    recurlm.set_num_threads(np.int64(3))
    assert recurlm.get_num_threads() == 3
    with pytest.raises(ValueError, match="threads must be from 1 to"):
        recurlm.set_num_threads(0)
