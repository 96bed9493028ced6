"""Models packed for the C library: tests/capi holds what it makes of them to what Python gives."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from recurlm import LanguageModel
from recurlm.cli import main

from . import samples


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("packed")
    samples.trained(samples.text_file(path, 60), epochs=1).save(path / "m")
    return path / "m"


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_a_packed_file_is_one_of_aligned_arrays(folder: Path, tmp_path: Path, precision: str) -> None:
    lm = LanguageModel.load(folder)
    lm = lm if precision == "float32" else lm.quantize("int8")
    lm.save(tmp_path / "p", packed=True)
    data = (tmp_path / "p" / "packed.safetensors").read_bytes()
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    begins = [entry["data_offsets"][0] for entry in header.values()]
    assert begins == sorted(begins)
    assert all((len(data[:8]) + int.from_bytes(data[:8], "little") + begin) % 64 == 0 for begin in begins[:-2])
    arrays = load_file(tmp_path / "p" / "packed.safetensors")  # that the library of the format reads
    values = lm.weights.running().arrays()
    np.testing.assert_array_equal(arrays["embedding"], values["embedding.embeddings"])
    if precision == "int8":
        np.testing.assert_array_equal(arrays["embedding.scales"], values["embedding.embeddings.scales"])
        by_column = (
            arrays["projection.kernel"].reshape(len(arrays["projection.kernel"]), -1, 32, 4).sum((1, 3), np.int32)
        )
        np.testing.assert_array_equal(arrays["projection.kernel.sums"], by_column)


def test_packing_takes_the_place_of_packed_models_alone(folder: Path, tmp_path: Path) -> None:
    lm = LanguageModel.load(folder)
    for _ in range(2):
        lm.save(tmp_path / "p", packed=True)
    with pytest.raises(ValueError, match="exists and is not a model"):
        lm.save(folder, packed=True)
    with pytest.raises(ValueError, match="exists and is not a model"):
        lm.save(tmp_path / "p")
    with pytest.raises(ValueError, match="is packed for the C library: Python loads the model that it was made from"):
        LanguageModel.load(tmp_path / "p")


def test_pack(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pack", str(folder), "--out", str(tmp_path / "p")]) == 0
    assert "MB of packed weights, for the C library" in capsys.readouterr().out
    assert main(["pack", str(folder), "--out", str(tmp_path / "p"), "--json"]) == 0
    size = (tmp_path / "p" / "packed.safetensors").stat().st_size
    assert json.loads(capsys.readouterr().out) == {"saved": str(tmp_path / "p"), "bytes": size}
    assert main(["pack", str(folder), "--out", str(folder)]) == 1
    assert (
        capsys.readouterr().err
        == "recurlm: error: --out must be another folder than MODEL: Python does not load a packed model\n"
    )
