"""What is wrong with an input is said in one sentence: by the command on stderr, with exit code 1."""

import errno
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from recurlm import LanguageModel
from recurlm.cli import main

from . import samples


@pytest.fixture
def folder(tmp_path: Path, model: LanguageModel) -> Path:
    model.save(tmp_path / "model")
    return tmp_path / "model"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> LanguageModel:
    return samples.trained(samples.text_file(tmp_path_factory.mktemp("text")), epochs=1)


def error_of(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """The sentence with which a command fails."""
    assert main([str(argument) for argument in arguments]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    line = captured.err.strip().splitlines()[-1]
    assert line.startswith("recurlm: error: ")
    assert "Traceback" not in captured.err
    return line.removeprefix("recurlm: error: ")


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (None, "there is no file {path}"),
        (b"", "{path} is empty"),
        (b"\xef\xbb\xbf", "{path} is empty"),
        (b"abc\xff", "{path} is not UTF-8 text: invalid start byte at byte 3"),
        (
            b"too short",
            "the text is too short: 8 tokens, expected at least 2,048 for --batch-size 32 and --window 64; give more "
            "text, or lower these (--validation-split 0.1 holds out another 1)",
        ),
    ],
)
def test_files_to_train_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], data: bytes | None, sentence: str
) -> None:
    path = tmp_path / "text.txt"
    if data is not None:
        path.write_bytes(data)
    assert error_of(capsys, "train", path, "--out", tmp_path / "m").startswith(sentence.format(path=path))
    assert not (tmp_path / "m").exists()


def test_a_folder_is_no_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        error_of(capsys, "train", tmp_path, "--out", tmp_path / "m") == f"{tmp_path} is a folder, expected a text file"
    )


@pytest.mark.parametrize(
    ("option", "value", "sentence"),
    [
        ("--units", "0", "--units must be an integer from 1 to 2,147,483,647, got 0"),
        ("--units", "9" * 20, "--units must be an integer from 1 to 2,147,483,647, got " + "9" * 20),
        ("--layers", "1001", "--layers must be an integer from 1 to 1,000, got 1001"),
        ("--warmup-steps", "-1", "--warmup-steps must be at least 0, got -1"),
        ("--dropout", "1", "--dropout must be at least 0 and below 1, got 1.0"),
        ("--epochs", "0", "--epochs must be from 1 to 9,007,199,254,740,992, got 0"),
        ("--epochs", "1" + 400 * "0", "--epochs must be from 1 to 9,007,199,254,740,992, got 1" + 400 * "0"),
        ("--max-tokens", "0", "--max-tokens must be from 1 to 9,007,199,254,740,992, got 0"),
        ("--clipnorm", "-1", "--clipnorm must be at least 0, got -1.0"),
        ("--sample-every", "nan", "--sample-every must be a positive number of seconds, got nan"),
        ("--seed", "-1", "--seed must be an integer from 0 to 2**63 - 1, got -1"),
        ("--window", "0", "--window must be at least 1, got 0"),
        ("--learning-rate", "0", "--learning-rate must be positive, got 0.0"),
        ("--max-minutes", "-1", "--max-minutes must be positive, got -1.0"),
        ("--validation-split", "1.5", "--validation-split must be between 0 and 1, got 1.5"),
        ("--early-stopping", "0", "--early-stopping must be at least 1, got 0"),
        ("--checkpoint-every", "0", "--checkpoint-every must be at least 1, got 0"),
        ("--unigram-noise", "1", "--unigram-noise must be at least 0 and below 1, got 1.0"),
        ("--blank-noise", "nan", "--blank-noise must be at least 0 and below 1, got nan"),
        ("--blank-noise", "0.1", "--blank-noise needs a tokenizer with <unk>, word or bpe, got char"),
        ("--token-drop", "-0.1", "--token-drop must be at least 0 and below 1, got -0.1"),
        ("--vocabulary-size", "9", "--vocabulary-size and --minimum-count need --tokenizer word or bpe"),
    ],
)
def test_options_of_training(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], option: str, value: str, sentence: str
) -> None:
    source = samples.text_file(tmp_path)
    assert error_of(capsys, "train", source, "--out", tmp_path / "m", "--units", "8", option, value) == sentence


def test_existing_folders_are_not_overwritten(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], model: LanguageModel
) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "diary.txt").write_text("precious")
    with pytest.raises(ValueError, match="exists and is not a model: choose another folder"):
        model.save(tmp_path / "home")
    source = samples.text_file(tmp_path)
    assert "exists and is not a model" in error_of(capsys, "train", source, "--out", tmp_path / "home")
    assert (tmp_path / "home" / "diary.txt").read_text() == "precious"


def test_folders_that_are_no_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = samples.text_file(tmp_path)
    assert str(tmp_path / "nothing") in error_of(capsys, "eval", tmp_path / "nothing", source)
    with pytest.raises(FileNotFoundError):
        LanguageModel.load(tmp_path / "nothing")
    assert error_of(capsys, "info", tmp_path) == f"{tmp_path} is not a recurlm model: it has no config.json"
    (tmp_path / "config.json").write_text('{"format_version": 1, "kind": "model"}')
    assert "is not a language model" in error_of(capsys, "info", tmp_path)


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-97] ^= 0x42  # the highest byte of one of the last weights
    path.write_bytes(data)


def _remove(path: Path) -> None:
    path.unlink()


def _rewrite(**changes: object) -> Callable[[Path], None]:
    def rewrite(path: Path) -> None:
        path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | changes), encoding="utf-8")

    return rewrite


@pytest.mark.parametrize(
    ("name", "damage", "sentence"),
    [
        ("config.json", _truncate, "config.json"),
        ("config.json", _rewrite(units=25), "must be float32 of shape"),
        (
            "config.json",
            _rewrite(units="24"),
            "config.json is damaged: units must be an integer from 1 to 2,147,483,647, got '24'",
        ),
        ("config.json", _rewrite(layers=1), "model.safetensors does not fit config.json: lstm_1.bias is unknown"),
        ("config.json", _rewrite(more=1), r"fields ['more'] are missing or unknown"),
        ("config.json", _rewrite(format_version=2), "format_version 2, expected 1"),
        ("model.safetensors", _truncate, "model.safetensors"),
        ("model.safetensors", _remove, "has no model.safetensors"),
        ("model.safetensors", _flip, "does not predict what it did when it was saved"),
        ("tokenizer.json", _truncate, "tokenizer.json is damaged: "),
        ("tokenizer.json", _remove, "model is not a whole model: it has no tokenizer.json"),
        ("selftest.json", _remove, "model is not a whole model: it has no selftest.json"),
        ("tokenizer.json", _rewrite(characters="abc"), "must be float32 of shape"),
        ("generation_config.json", _truncate, "generation_config.json"),
        ("generation_config.json", _rewrite(top_p=2), "generation_config.json is damaged: top_p must be"),
        ("generation_config.json", _rewrite(max_new_tokens="9"), "is damaged: max_tokens must be an integer"),
        ("selftest.json", _truncate, "selftest.json"),
        ("selftest.json", _rewrite(ids=[-1, 0, 0, 0]), "selftest.json is damaged"),
    ],
)
def test_damaged_models(
    folder: Path, capsys: pytest.CaptureFixture[str], name: str, damage: Callable[[Path], None], sentence: str
) -> None:
    damage(folder / name)
    assert sentence in error_of(capsys, "info", folder)


def test_the_self_test_can_be_left_out(folder: Path) -> None:
    _flip(folder / "model.safetensors")
    LanguageModel.load(folder, check=False)


def test_a_full_disk_leaves_the_saved_model_whole(
    folder: Path, model: LanguageModel, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def no_space(path: Path, arrays: object) -> None:
        path.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr("recurlm.language_model.storage.write_safetensors", no_space)
    with pytest.raises(OSError, match="No space left"):
        model.save(folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert list(folder.parent.iterdir()) == [folder]
    source = samples.text_file(folder.parent)
    options = ["--units", "8", "--batch-size", "4", "--epochs", "1"]
    message = error_of(capsys, "train", source, "--out", folder.parent / "new", *options)
    assert message.startswith("No space left on device: ")


def test_unknown_characters(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sentence = "character 'Z' (U+005A) at position 4 is not among the"
    assert error_of(capsys, "generate", folder, "--prompt", "the Zoo").startswith(f"--prompt: {sentence}")
    path = tmp_path / "zoo.txt"
    path.write_text("the Zoo")
    assert error_of(capsys, "eval", folder, path).startswith(sentence)
    with pytest.raises(ValueError, match=r"texts\[1\]: character 'Z'"):
        LanguageModel.load(folder).score(["the", "the Zoo"])


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--temperature", "-1"),
        ("--temperature", "1e-40"),
        ("--temperature", "nan"),
        ("--temperature", "inf"),
        ("--top-p", "1.5"),
        ("--top-k", "-1"),
        ("--max-tokens", "-1"),
        ("--samples", "0"),
        ("--seed", "-1"),
        ("--seed", str(2**64)),
    ],
)
def test_options_of_generation(folder: Path, capsys: pytest.CaptureFixture[str], option: str, value: str) -> None:
    assert error_of(capsys, "generate", folder, option, value).startswith(f"{option} must be ")


def test_top_k_beyond_the_vocabulary_is_all_of_it(model: LanguageModel) -> None:
    assert model.generate("the", seed=1, top_k=10**20) == model.generate("the", seed=1, top_k=10**3)


def test_texts_without_tokens(tmp_path: Path, model: LanguageModel, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="the texts have no tokens"):
        model.evaluate([""])
    blanks = tmp_path / "blanks.txt"
    blanks.write_text(" \t ")
    words = samples.trained(samples.text_file(tmp_path), epochs=1, tokenizer="word")
    with pytest.raises(ValueError, match="the text has no tokens"):
        words.evaluate(blanks)
    words.save(tmp_path / "words")
    assert error_of(capsys, "eval", tmp_path / "words", blanks) == "the text has no tokens"
    source = tmp_path / "text.txt"
    assert (
        error_of(capsys, "eval", tmp_path / "words", source, "--streams", "0")
        == "--streams must be an integer from 1 on, got 0"
    )


def test_sample_prompts_are_read_before_training(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--out", tmp_path / "m", "--units", "8", "--batch-size", "4", "--sample-prompt", "ZZ"]
    message = error_of(capsys, "train", samples.text_file(tmp_path), *arguments)
    assert message.startswith("--sample-prompt: character 'Z'")
    assert not list((tmp_path / "m-checkpoints").glob("step-*"))


def test_deep_nesting_is_no_traceback(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("tokenizer.json", "config.json"):
        (folder / name).write_text("[" * 100_000)
        assert f"{name} is damaged: " in error_of(capsys, "info", folder)


def test_word_patterns(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = samples.text_file(tmp_path)
    for pattern in ("(", "a{99999999999999999999}", "(" * 20_000):
        arguments = ["--out", tmp_path / "m", "--tokenizer", "word", "--word-pattern", pattern]
        assert "--word-pattern must be a regular expression, got " in error_of(capsys, "train", source, *arguments)


def test_wrong_types(model: LanguageModel) -> None:
    with pytest.raises(TypeError, match="texts must be a list of str, got one str"):
        model.score("text")
    with pytest.raises(TypeError, match=r"texts\[0\]: text must be a str, got int"):
        model.score([3])  # type: ignore[list-item]
    with pytest.raises(TypeError, match="prompt: text must be a str, got bytes"):
        model.generate(b"the")  # type: ignore[call-overload]
    with pytest.raises(ValueError, match="units must be an integer from 1 to 2,147,483,647, got 'a'"):
        LanguageModel(units="a")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="weights must be a list of arrays, got int"):
        model.model.set_weights(3)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="no vocabulary yet: call fit first"):
        LanguageModel().generate("a")
    with pytest.raises(ValueError, match=r"top_k must be an integer from 0 on, got 1\.5"):
        model.generate("the", top_k=1.5)  # type: ignore[call-overload]
    with pytest.raises(TypeError, match="temperature must be a number, got '1'"):
        model.generate("the", temperature="1")  # type: ignore[call-overload]
    with pytest.raises(ValueError, match=r"samples must be an integer from 1 on, got 2\.0"):
        model.generate("the", samples=2.0)  # type: ignore[call-overload]
    with pytest.raises(ValueError, match="stop must not hold an empty string"):
        model.generate("the", stop=[""])


def test_a_run_that_diverges_says_so_and_saves_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The updates overflow before the loss of a step does; validation or the next step tells."""
    source = samples.text_file(tmp_path)
    options = ["--units", "8", "--batch-size", "4", "--window", "16", "--epochs", "1", "--learning-rate", "1e30"]
    sentence = error_of(capsys, "train", source, "--out", tmp_path / "m", *options)
    assert sentence.startswith("epoch 1, step ")
    assert "lower the learning rate" in sentence
    assert not (tmp_path / "m").exists()


def test_what_predicts_no_numbers_is_not_saved(tmp_path: Path) -> None:
    lm = samples.trained(samples.text_file(tmp_path), epochs=1)
    lm.model.set_weights([np.full_like(weight, np.nan) for weight in lm.model.get_weights()])
    with pytest.raises(FloatingPointError, match="predicts no numbers and was not saved"):
        lm.save(tmp_path / "m")
    assert not (tmp_path / "m").exists()


def test_a_share_that_holds_out_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = samples.text_file(tmp_path)
    sentence = error_of(capsys, "train", source, "--out", tmp_path / "m", "--validation-split", "1e-9")
    assert sentence.startswith("--validation-split must hold out at least one of ")


def test_units_may_be_a_number_of_numpy() -> None:
    assert LanguageModel(units=np.int64(512)).architecture == LanguageModel(units=512).architecture  # type: ignore[arg-type]


def test_tied_weights_need_one_width() -> None:
    with pytest.raises(ValueError, match="tie_weights needs one width, got embedding_dim=4 and units=8"):
        LanguageModel(units=8, embedding_dim=4, tie_weights=True)


def test_words_that_cannot_be_limited_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--out", tmp_path / "m", "--tokenizer", "word", "--vocabulary-size", "1"]
    message = error_of(capsys, "train", samples.text_file(tmp_path), *arguments)
    assert message == "--vocabulary-size must be an integer from 4 on (<bos>, <unk>, <eos> and a word), got 1"


def test_a_network_that_does_not_fit_in_memory(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    message = error_of(capsys, "train", samples.text_file(tmp_path), "--out", tmp_path / "m", "--units", str(2**30))
    assert message.startswith(f"there is not enough memory: a network of --units {2**30}, --layers 1 and ")


def test_a_file_is_not_taken_for_an_option(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("seed=1", "window", "window=3 b"):
        (tmp_path / name).write_bytes(b"")
        assert error_of(capsys, "train", tmp_path / name, "--out", tmp_path / "m") == f"{tmp_path / name} is empty"


def test_the_seconds_of_the_demo(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    message = error_of(capsys, "demo", "--seconds", "-1", "--out", tmp_path / "m")
    assert message == "--seconds must be positive, got -1.0"
