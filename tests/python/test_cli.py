import io
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import recurlm
from recurlm import LanguageModel, checkpoint
from recurlm.cli import main
from recurlm.cli.arguments import print_json

from . import samples

VERBS = ["train", "eval", "generate", "score", "inspect", "plot", "quantize", "convert", "info", "demo"]
TINY = ["--units", "12", "--batch-size", "4", "--window", "16", "--epochs", "2"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "model"
    samples.trained(samples.text_file(path.parent)).save(path)
    return path


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return samples.text_file(tmp_path, 60)


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """Standard output of a command that succeeds."""
    code = main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    assert code == 0, captured.err
    return captured.out


@pytest.mark.parametrize("verb", [[], *([verb] for verb in VERBS)])
def test_help_is_there(capsys: pytest.CaptureFixture[str], verb: list[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main([*verb, "--help"])
    assert "usage: recurlm" in capsys.readouterr().out


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["--version"])
    assert capsys.readouterr().out == f"recurlm {recurlm.__version__}\n"


def test_help_states_the_defaults_of_the_python_interface(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["train", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    for default in (
        "(default: 0.004; lion: 0.0004; adagrad: 0.05; sgd, nt-asgd: 4)",
        "(default: cosine)",
        "(default: 64)",
        "(default: lstm)",
        "(default: 512)",
    ):
        assert default in text


@pytest.mark.parametrize(
    "arguments", [[], ["fly"], ["train", "x.txt"], ["train", "x", "--out", "y", "--cell", "z"], ["generate"]]
)
def test_wrong_usage_exits_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(arguments)
    assert capsys.readouterr().out == ""


def test_train_saves_a_model(tmp_path: Path, source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = run(capsys, "train", source, "--out", tmp_path / "m", *TINY)
    assert f"model saved in {tmp_path / 'm'}" in out
    assert LanguageModel.load(tmp_path / "m").architecture.units == 12
    assert checkpoint.list_steps(tmp_path / "m-checkpoints")


def test_training_again_says_what_to_do(tmp_path: Path, source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["train", source, "--out", tmp_path / "m", *TINY]
    run(capsys, *arguments)
    before = (tmp_path / "m" / "model.safetensors").read_bytes()
    assert main([str(argument) for argument in arguments]) == 1
    assert "--resume) to go on with it, or delete the folder to start anew" in capsys.readouterr().err
    run(capsys, *arguments, "--resume")
    assert (tmp_path / "m" / "model.safetensors").read_bytes() == before


def test_json_has_no_infinity(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"a": [1.5, float("inf")], "b": (float("nan"), None), "c": "Infinity"})
    assert json.loads(capsys.readouterr().out) == {"a": [1.5, None], "b": [None, None], "c": "Infinity"}


def test_there_is_no_bar_in_a_file(tmp_path: Path, source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", str(source), "--out", str(tmp_path / "m"), *TINY]) == 0
    error = capsys.readouterr().err
    assert "%|" not in error
    assert error.count("epoch 2: loss ") == 1


def test_train_reports_json(tmp_path: Path, source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    held_out = samples.text_file(tmp_path, 10, "held_out.txt")
    out = run(capsys, "train", source, "--out", tmp_path / "m", "--validation", held_out, "--json", *TINY)
    result = json.loads(out)
    assert len(result["history"]["val_loss"]) == 2
    assert result["parameters"] == LanguageModel.load(result["model"]).model.count_params()


def test_every_part_of_the_recipe_is_an_option(
    tmp_path: Path, source: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = (
        "--optimizer adamw --beta-2 0.99 --weight-decay 0.01 --warmup-steps 10 --schedule cosine --learning-rate 4e-3 "
        "--clipnorm 1.0 --embedding-dim 6 --layers 2 --dropout 0.1 --cell gru --seed 5 --early-stopping 3 "
        "--unigram-noise 0.1 --token-drop 0.1 --random-windows --shift-windows "
        "--max-minutes 5 --max-tokens 100000 --checkpoint-every 50 --sample-every 60 --validation-split 0.2"
    )
    run(capsys, "train", source, "--out", tmp_path / "m", *TINY, *recipe.split())
    assert LanguageModel.load(tmp_path / "m").architecture.embedding_dim == 6


def test_train_on_words(tmp_path: Path, source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--tokenizer", "word", "--vocabulary-size", "9", "--minimum-count", "2", "--word-pattern", r"\w+|\S"]
    run(capsys, "train", source, "--out", tmp_path / "m", *words, *TINY, "--batch-size", "2", "--window", "8")
    assert LanguageModel.load(tmp_path / "m").tokenizer.vocabulary_size == 9


def test_train_on_bpe(tmp_path: Path, source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("tokenizers")
    tokens = ["--tokenizer", "bpe", "--vocabulary-size", "270", "--minimum-count", "3"]
    run(capsys, "train", source, "--out", tmp_path / "m", *tokens, *TINY, "--batch-size", "2")
    assert LanguageModel.load(tmp_path / "m").tokenizer.vocabulary_size == 270
    assert "perplexity" in run(capsys, "eval", tmp_path / "m", source)
    arguments = ["train", str(source), "--out", str(tmp_path / "n"), *tokens[:2], "--word-pattern", "x"]
    assert main(arguments) == 1
    assert "--word-pattern needs --tokenizer word" in capsys.readouterr().err


def test_eval(folder: Path, source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = json.loads(run(capsys, "eval", folder, source, "--json"))
    assert result["tokens"] == len(source.read_text(encoding="utf-8"))
    assert result["loss"] == LanguageModel.load(folder).evaluate(source).loss
    shown = run(capsys, "eval", folder, source, "--streams", 4)
    assert f"tokens {result['tokens']:,}\n" in shown
    assert "bits per character" in shown


def test_generate(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--prompt", "the ", "--max-tokens", 30, "--seed", 1]
    expected = "the " + LanguageModel.load(folder).generate("the ", max_tokens=30, seed=1)
    assert run(capsys, "generate", folder, *options) == expected + "\n"
    result = json.loads(run(capsys, "generate", folder, *options, "--samples", 2, "--json"))
    assert result["prompt"] + result["texts"][0] == expected
    assert len(result["texts"]) == 2
    assert "\n" not in run(capsys, "generate", folder, *options, "--stop", "\n").rstrip("\n")


def test_score(folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    lines = ["the cat", "", "a dog"]

    def feed() -> None:
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO("\n".join(lines).encode() + b"\r\n")))

    expected = LanguageModel.load(folder).score(lines)
    feed()
    np.testing.assert_allclose([float(line) for line in run(capsys, "score", folder).splitlines()], expected, atol=1e-6)
    feed()
    results = [json.loads(line) for line in run(capsys, "score", folder, "--json", "--details").splitlines()]
    assert [result["log_prob"] for result in results] == expected.tolist()
    assert [token["token"] for token in results[0]["tokens"]] == list("the cat")
    feed()
    assert "\n\t't'\t-" in run(capsys, "score", folder, "--details")


def test_bytes_that_are_no_text(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    source, model = tmp_path / "any.bin", tmp_path / "m"
    source.write_bytes(bytes(range(256)) * 8)
    arguments = ["train", source, "--out", model, "--tokenizer", "byte", *TINY]
    run(capsys, *arguments)
    run(capsys, *arguments, "--resume")
    assert json.loads(run(capsys, "eval", model, source, "--json"))["tokens"] == 2048
    assert "\n" in run(capsys, "generate", model, "--max-tokens", 5)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"\xff\xfe\n\xc3\xa9")))
    assert len(run(capsys, "score", model).splitlines()) == 2


def test_score_names_the_line(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("recurlm.cli.score._LINES", 2)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO("the\ncat\na \u20ac\n".encode())))
    assert main(["score", str(folder)]) == 1
    captured = capsys.readouterr()
    assert len(captured.out.splitlines()) == 2
    assert "error: line 3 of the input: character '\u20ac'" in captured.err


@pytest.mark.parametrize("arguments", [["score", "m", "held.txt"], ["train", "x", "--out", "y", "--unit", "64"]])
def test_unknown_arguments_show_the_usage_of_the_verb(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(arguments)
    error = capsys.readouterr().err
    assert error.startswith(f"usage: recurlm {arguments[0]} ")
    assert "unrecognized arguments: " in error


def test_info(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    machine = json.loads(run(capsys, "info", "--json"))
    assert machine["instruction_set"] in machine["supported"]
    assert machine["threads"] >= 1
    assert "instruction set: " in run(capsys, "info")
    model = json.loads(run(capsys, "info", folder, "--json"))
    assert (model["cell"], model["units"], model["tokenizer"]) == ("lstm", 24, "char")
    assert model["bytes"] > 4 * model["parameters"]
    history = LanguageModel.load(folder).history
    assert history is not None
    assert model["epochs"] == len(history.epochs["loss"])
    assert model["best_val_loss"] == min(history.epochs["val_loss"])
    assert model["trained_steps"] == history.epochs["steps"][-1]
    assert f"best epoch: {model['best_epoch']}\n" in run(capsys, "info", folder)


def test_demo(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    out = run(
        capsys, "demo", samples.text_file(tmp_path, 2000), "--seconds", "2", "--sample-every", "0.5", "--out", "d"
    )
    assert "validation loss before" in out
    assert "characters a second" in out
    assert "model saved in d" in out
    LanguageModel.load("d")
    advice = shlex.split(out.partition("; try: ")[2])
    assert main(advice[advice.index("generate") :]) == 0


def test_a_text_that_is_too_short_for_the_demo(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "short.txt").write_text("to be")
    assert main(["demo", str(tmp_path / "short.txt"), "--out", str(tmp_path / "d")]) == 1
    assert "short.txt is too short: 5 characters" in capsys.readouterr().err


def test_the_demo_corpus_is_prose() -> None:
    from recurlm.text import demo_corpus

    text = demo_corpus.build()
    assert text == demo_corpus.build()
    assert len(set(text)) <= 98
    paragraphs = text.strip().split("\n\n")
    assert len(set(paragraphs)) == len(paragraphs)


# As processes --------------------------------------------------------------------------------------------------------


def start(*arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "recurlm", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_ctrl_c_saves_says_where_and_exits_with_130(
    tmp_path: Path, source: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["train", source, "--out", tmp_path / "m", *TINY, "--epochs", "100000", "--checkpoint-every", "5"]
    with start(*arguments) as process:
        deadline = time.monotonic() + 60
        while not checkpoint.list_steps(tmp_path / "m-checkpoints") and time.monotonic() < deadline:
            time.sleep(0.05)
        os.kill(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert out == ""
    assert f"saved in {checkpoint.newest(tmp_path / 'm-checkpoints')}" in err
    assert "Traceback" not in err
    assert not (tmp_path / "m").exists()
    run(capsys, *arguments, "--resume", "--epochs", "1")
    LanguageModel.load(tmp_path / "m")


def test_errors_go_to_stderr_as_one_sentence(tmp_path: Path) -> None:
    with start("eval", tmp_path / "nothing", "x.txt") as process:
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (1, "")
    assert err.startswith("recurlm: error: ")
    assert err.count("\n") == 1


@pytest.mark.parametrize("variable", ["RECURLM_ISA", "RECURLM_NUM_THREADS"])
def test_a_core_that_refuses_to_load_is_one_sentence_too(variable: str) -> None:
    command = [sys.executable, "-m", "recurlm", "info"]
    done = subprocess.run(command, env=os.environ | {variable: "nonsense"}, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("recurlm: error: ")
    assert done.stderr.count("\n") == 1
    assert "'nonsense'" in done.stderr
