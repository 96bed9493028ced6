"""Quantized language models on disk and on the command line."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recurlm import LanguageModel, files
from recurlm.cli import main
from recurlm.precision import Precision

from . import samples
from .test_cli import run

NARROW: list[Precision] = ["bfloat16", "int8"]
TEXTS = ["the cat", "a dog ran after the hat", "", "the cat"]
Arrays = dict[str, Any]


@pytest.fixture(scope="module")
def lm(tmp_path_factory: pytest.TempPathFactory) -> LanguageModel:
    return samples.trained(samples.text_file(tmp_path_factory.mktemp("text")), layers=1)


@pytest.fixture(scope="module")
def folder(lm: LanguageModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "model"
    lm.save(path)
    return path


def bits(lm: LanguageModel) -> dict[str, tuple[str, tuple[int, ...], bytes]]:
    arrays = lm.weights.running().arrays()
    return {name: (array.dtype.name, array.shape, array.tobytes()) for name, array in arrays.items()}


# Files ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("precision", NARROW)
@pytest.mark.parametrize("options", [{}, {"tie_weights": True}, {"cell": "gru", "tokenizer": "word"}], ids=str)
def test_a_loaded_model_is_the_saved_one(tmp_path: Path, options: dict[str, Any], precision: Precision) -> None:
    narrow = samples.trained(samples.text_file(tmp_path, 60), epochs=1, **options).quantize(precision)
    narrow.save(tmp_path / "m")
    loaded = LanguageModel.load(tmp_path / "m")
    assert loaded.precision == precision
    assert loaded.architecture == narrow.architecture
    assert bits(loaded) == bits(narrow)
    np.testing.assert_array_equal(loaded.score(TEXTS), narrow.score(TEXTS))
    assert loaded.generate("the ", 30, seed=1) == narrow.generate("the ", 30, seed=1)
    assert loaded.evaluate(TEXTS) == narrow.evaluate(TEXTS)
    loaded.save(tmp_path / "m")
    assert bits(LanguageModel.load(tmp_path / "m")) == bits(narrow)
    with pytest.raises(ValueError, match=f"^a model quantized to {precision} can run but has no network to train"):
        loaded.fit(["the cat"])


@pytest.mark.parametrize(("precision", "size"), [("bfloat16", 2), ("int8", 1)])
def test_a_file_holds_narrow_matrices_and_scales(
    lm: LanguageModel, folder: Path, tmp_path: Path, precision: Precision, size: int
) -> None:
    lm.quantize(precision).save(tmp_path / "m")
    narrow, wide = (files.read_safetensors(path / "model.safetensors") for path in (tmp_path / "m", folder))
    for name, array in wide.items():
        if name.endswith(".bias"):
            np.testing.assert_array_equal(narrow[name], array)
        else:
            assert (narrow[name].dtype.itemsize, narrow[name].shape) == (size, array.shape)
    scales = {name for name in narrow if name.endswith(".scales")}
    matrices = {name for name in wide if not name.endswith(".bias")}
    assert scales == ({name + ".scales" for name in matrices} if precision == "int8" else set())
    assert json.loads((tmp_path / "m" / "config.json").read_text())["precision"] == precision


def test_a_quantized_model_and_its_float32_one_take_each_others_place(lm: LanguageModel, tmp_path: Path) -> None:
    for model in (lm, lm.quantize(), lm.quantize("bfloat16"), lm):
        model.save(tmp_path / "m")
        loaded = LanguageModel.load(tmp_path / "m")
        assert loaded.precision == model.precision
        np.testing.assert_array_equal(loaded.score(TEXTS), model.score(TEXTS))


def test_float32_needs_no_name(lm: LanguageModel, tmp_path: Path) -> None:
    """Folders of the first version, which knew no other precision, have none; and that version reads new ones."""
    lm.save(tmp_path / "m")
    assert "precision" not in json.loads((tmp_path / "m" / "config.json").read_text())
    assert LanguageModel.load(tmp_path / "m").precision == "float32"


def without(name: str) -> Callable[[Arrays], Arrays]:
    return lambda arrays: {other: array for other, array in arrays.items() if other != name}


def changed(name: str, change: Callable[[Any], Any]) -> Callable[[Arrays], Arrays]:
    return lambda arrays: arrays | {name: change(arrays[name])}


KERNEL, SCALES = "lstm_0.kernel", "lstm_0.kernel.scales"
DAMAGE: list[tuple[Precision, Callable[[Arrays], Arrays], str]] = [
    ("int8", without(SCALES), rf"does not fit config\.json: {SCALES} is missing"),
    ("int8", without("embedding.embeddings.scales"), r"embedding\.embeddings\.scales is missing"),
    ("int8", without(KERNEL), rf"{KERNEL} is missing"),
    ("int8", lambda a: a | {"lstm_0.bias.scales": a[SCALES]}, r"lstm_0\.bias\.scales is unknown"),
    ("int8", changed(KERNEL, lambda x: x.astype(np.uint8)), rf"{KERNEL} must be int8 of shape \(24, 96\), got uint8"),
    ("int8", changed(KERNEL, lambda x: x.astype(np.float32)), rf"{KERNEL} must be int8 .*, got float32"),
    (
        "int8",
        changed(KERNEL, lambda x: x.T),
        rf"{KERNEL} must be int8 of shape \(24, 96\), got int8 of shape \(96, 24\)",
    ),
    ("int8", changed(SCALES, lambda x: x[:24]), rf"{SCALES} must be float32 of shape \(96,\), got .* \(24,\)"),
    ("int8", changed(SCALES, lambda x: x[None]), rf"{SCALES} must be float32 of shape \(96,\), got .* \(1, 96\)"),
    ("int8", changed(SCALES, lambda x: x.astype(np.float64)), rf"{SCALES} must be float32 .*, got float64"),
    ("int8", changed(SCALES, lambda x: 2 * x), "does not predict what it did when it was saved"),
    ("int8", changed(SCALES, lambda x: np.nan * x), "does not predict what it did when it was saved"),
    ("int8", changed(KERNEL, lambda x: -x), "does not predict what it did when it was saved"),
    ("bfloat16", changed(KERNEL, lambda x: x.view(np.int16)), rf"{KERNEL} must be uint16 .*, got int16"),
    ("bfloat16", changed(KERNEL, lambda x: x.astype(np.float32)), rf"{KERNEL} must be uint16 .*, got float32"),
    ("bfloat16", lambda a: a | {SCALES: np.ones(96, np.float32)}, rf"{SCALES} is unknown"),
    ("bfloat16", changed(KERNEL, lambda x: x ^ np.uint16(0x8000)), "does not predict what it did when it was saved"),
    ("bfloat16", changed("lstm_0.bias", lambda x: x.astype(np.float64)), "lstm_0.bias must be float32 .*, got float64"),
]


@pytest.mark.parametrize(("precision", "change", "sentence"), DAMAGE, ids=[f"{d[0]}-{d[2]}" for d in DAMAGE])
def test_weights_that_do_not_fit(
    lm: LanguageModel, tmp_path: Path, precision: Precision, change: Callable[[Arrays], Arrays], sentence: str
) -> None:
    lm.quantize(precision).save(tmp_path / "m")
    path = tmp_path / "m" / "model.safetensors"
    files.write_safetensors(path, change(files.read_safetensors(path)))
    with pytest.raises(ValueError, match=sentence) as error:
        LanguageModel.load(tmp_path / "m")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("precision", "sentence"),
    [
        ("int4", r"config\.json has precision 'int4', expected one of float32, bfloat16, int8$"),
        (8, r"config\.json has precision 8, expected one of"),
        (None, r"config\.json has precision None, expected one of"),
        (["int8"], r"config\.json has precision \['int8'\], expected one of"),
        ("float32", r"embedding\.embeddings must be float32 .*, got int8"),
        ("bfloat16", r"embedding\.embeddings must be uint16 .*, got int8"),
        (..., r"embedding\.embeddings must be float32 .*, got int8"),  # the field is gone
    ],
)
def test_a_precision_that_does_not_fit(lm: LanguageModel, tmp_path: Path, precision: object, sentence: str) -> None:
    lm.quantize().save(tmp_path / "m")
    path = tmp_path / "m" / "config.json"
    fields = json.loads(path.read_text())
    del fields["precision"]
    path.write_text(json.dumps(fields if precision is ... else fields | {"precision": precision}))
    with pytest.raises(ValueError, match=sentence):
        LanguageModel.load(tmp_path / "m")


# The command line ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("arguments", "precision"), [([], "int8"), (["--precision", "bfloat16"], "bfloat16")])
def test_quantize(
    folder: Path, tmp_path: Path, arguments: list[str], precision: Precision, capsys: pytest.CaptureFixture[str]
) -> None:
    out = run(capsys, "quantize", folder, "--out", tmp_path / "q", *arguments)
    assert out.startswith(f"{tmp_path / 'q'}: ")
    assert out.count("\n") == 1
    assert f"MB of weights in {precision}, " in out
    lm = LanguageModel.load(tmp_path / "q")
    assert bits(lm) == bits(LanguageModel.load(folder).quantize(precision))
    result = json.loads(run(capsys, "quantize", folder, "--out", tmp_path / "q", *arguments, "--json"))  # in its place
    sizes = [(path / "model.safetensors").stat().st_size for path in (folder, tmp_path / "q")]
    assert result == {"saved": str(tmp_path / "q"), "bytes_before": sizes[0], "bytes": sizes[1]}
    assert sizes[1] < sizes[0] * (
        0.65 if precision == "bfloat16" else 0.55
    )  # of a small model much is names and biases


@pytest.mark.parametrize("precision", NARROW)
def test_every_verb_runs_a_quantized_model(
    folder: Path, tmp_path: Path, precision: Precision, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "q"
    run(capsys, "quantize", folder, "--out", path, "--precision", precision)
    lm, source = LanguageModel.load(path), samples.text_file(tmp_path, 20)
    facts = [json.loads(run(capsys, "info", model, "--json")) for model in (folder, path)]
    assert [fact.pop("precision") for fact in facts] == ["float32", precision]
    assert facts[1].pop("bytes") < facts[0].pop("bytes")
    assert facts[0] == facts[1]
    assert f"precision: {precision}\n" in run(capsys, "info", path)
    assert json.loads(run(capsys, "eval", path, source, "--json"))["loss"] == lm.evaluate(source).loss
    options = ["--prompt", "the ", "--max-tokens", 20, "--seed", 1]
    assert run(capsys, "generate", path, *options) == "the " + lm.generate("the ", 20, seed=1) + "\n"


@pytest.mark.parametrize(
    "arguments", [[], ["--precision", "int4", "--out", "q"], ["--precision", "float32", "--out", "q"]]
)
def test_wrong_usage_of_quantize(folder: Path, arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["quantize", str(folder), *arguments])
    assert capsys.readouterr().err.startswith("usage: recurlm quantize ")


def test_errors_of_quantize_are_one_sentence(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(capsys, "quantize", folder, "--out", tmp_path / "q")
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "diary.txt").write_text("mine")
    for model, out, sentence in [
        (tmp_path / "q", tmp_path / "r", "the model is quantized to int8 already: quantize the float32 one"),
        (tmp_path / "nothing", tmp_path / "r", "there is no folder"),
        (folder, tmp_path / "home", "home exists and is not a model: choose another folder"),
    ]:
        assert main(["quantize", str(model), "--out", str(out)]) == 1
        captured = capsys.readouterr()
        assert captured.out == ""
        assert captured.err.startswith("recurlm: error: ")
        assert sentence in captured.err
        assert captured.err.count("\n") == 1
    assert not (tmp_path / "r").exists()
    assert [path.name for path in (tmp_path / "home").iterdir()] == ["diary.txt"]


def test_an_edited_integer_is_told_with_its_file(lm: LanguageModel, tmp_path: Path) -> None:
    lm.quantize("int8").save(tmp_path / "m")
    path = tmp_path / "m" / "model.safetensors"
    arrays = files.read_safetensors(path)
    arrays["lstm_0.kernel"][1, 2] = -128
    files.write_safetensors(path, arrays)
    for check in (True, False):
        with pytest.raises(ValueError, match=r"model\.safetensors: lstm_0\.kernel must hold integers from -127 to 127"):
            LanguageModel.load(tmp_path / "m", check=check)


def test_the_command_does_not_replace_what_it_quantizes(
    lm: LanguageModel, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lm.save(tmp_path / "m")
    assert main(["quantize", str(tmp_path / "m"), "--out", str(tmp_path / "m" / ".." / "m")]) == 1
    assert "--out must be another folder" in capsys.readouterr().err
    assert LanguageModel.load(tmp_path / "m").precision == "float32"
