"""Networks with a vocabulary as language models, and the command that converts."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recurlm import Input, LanguageModel, Model, files
from recurlm.cli import main
from recurlm.interop import from_pytorch, language_model, load, save, to_pytorch
from recurlm.interop.convert import read_tokens
from recurlm.layers import GRU, LSTM, Bidirectional, Dense, Embedding, SimpleRNN

RNG = np.random.default_rng(4)
CHARACTERS = "hello wrd\n"  # each once, in no order
TOKENS = list(dict.fromkeys(CHARACTERS))
WORDS = ["the", "cat", "<eos>", "sat", "<unk>"]


def network(size: int, *layers: Any, width: int = 6, tied: bool = False, **dense: Any) -> Model:
    x = ids = Input((None,), dtype="int32")
    table = Embedding(size, width)
    for layer in (table, *layers):
        x = layer(x)
    model = Model(ids, Dense(size, tied_to=table if tied else None, **dense)(x))
    model.set_weights([RNG.standard_normal(w.shape, np.float32) for w in model.weights])
    return model


def lstm(units: int = 6, **options: Any) -> LSTM:
    return LSTM(units, return_sequences=True, **options)


def log_probability(model: Model, ids: list[int]) -> float:
    """Of ids after the first, by the network alone."""
    logits = model.predict(np.array([ids[:-1]]), verbose=0)[0].astype(np.float64)
    logits -= np.log(np.exp(logits).sum(-1, keepdims=True))
    return float(sum(row[token] for row, token in zip(logits, ids[1:], strict=True)))


@pytest.mark.parametrize(
    "build",
    [
        lambda: network(len(TOKENS), lstm()),
        lambda: network(len(TOKENS), lstm(), lstm(), tied=True),
        lambda: network(len(TOKENS), GRU(5, return_sequences=True, use_bias=False), use_bias=False),
        lambda: network(len(TOKENS), SimpleRNN(5, return_sequences=True)),
    ],
)
def test_characters_have_the_probabilities_of_the_network(build: Callable[[], Model]) -> None:
    model = build()
    lm = language_model(model, TOKENS, "char")
    ids = [TOKENS.index(c) for c in "\nhello world"]
    assert lm.score(["hello world"])[0] == pytest.approx(log_probability(model, ids), abs=1e-4)
    assert set(lm.generate(max_tokens=200, seed=1)) <= set(TOKENS)


def test_words_and_the_token_that_begins_a_text() -> None:
    model = network(len(WORDS), lstm())
    for bos, first in ((None, "<eos>"), ("sat", "sat")):
        lm = language_model(model, WORDS, "word", bos=bos)
        ids = [WORDS.index(word) for word in (first, "the", "<unk>", "sat", "<eos>")]
        assert lm.score(["the dog sat\n"])[0] == pytest.approx(log_probability(model, ids), abs=1e-4)
    assert list(lm.tokenizer.tokens) == ["<bos>", "<unk>", "<eos>", "the", "cat", "sat"]


def test_bytes() -> None:
    model = network(256, lstm())
    lm = language_model(model, [], "byte")
    ids = [10, *"é!".encode()]
    assert lm.score(["é!"])[0] == pytest.approx(log_probability(model, ids), abs=1e-4)


def test_tokens_that_are_missing_are_never_drawn() -> None:
    lm = language_model(network(3, lstm()), ["a", "b", "c"], "word")
    assert lm.score(["a strange word"])[0] < -60
    assert set(lm.generate(max_tokens=50, seed=1).split()) <= {"a", "b", "c"}


def test_a_line_end_is_the_end_of_sequence_where_there_is_none_of_that_name() -> None:
    tokens = ["a", "\n", "b"]
    model = network(3, lstm())
    lm = language_model(model, tokens, "word")
    ids = [tokens.index(token) for token in ("\n", "a", "\n", "b")]
    assert lm.score(["a\nb"])[0] == pytest.approx(log_probability(model, ids), abs=1e-4)


def test_logits_may_lie_anywhere() -> None:
    model = network(len(TOKENS), lstm())
    lm = language_model(model, TOKENS, "char")
    model.layers[-1].bias.value[...] -= 300  # type: ignore[attr-defined]
    assert language_model(model, TOKENS, "char").score(["hello"])[0] == pytest.approx(lm.score(["hello"])[0], abs=1e-3)


def test_it_trains_saves_and_loads(tmp_path: Path) -> None:
    lm = language_model(network(len(TOKENS), lstm()), TOKENS, "char")
    before = lm.score(["hello"])[0]
    lm.save(tmp_path / "model")
    assert LanguageModel.load(tmp_path / "model").score(["hello"])[0] == before
    lm.fit(["hello world"] * 40, epochs=2, batch_size=2, window=8, validation_split=0, verbose=False)
    assert lm.score(["hello"])[0] > before


@pytest.mark.parametrize(
    ("build", "arguments", "message"),
    [
        (lambda: network(4, lstm()), (["a", "b", "c"],), "tokens must be 4 different ones, one for each id, got 3"),
        (lambda: network(2, lstm()), (["a", "a"],), "tokens must be 2 different ones"),
        (lambda: network(2, lstm()), (["a", "bc"], "char"), "the token 'bc' is no character"),
        (lambda: network(2, lstm()), (["a", "b"], "bpe"), "tokenizer must be char, word or byte, got 'bpe'"),
        (lambda: network(2, Bidirectional(lstm())), (["a", "b"],), "and read forward"),
        (lambda: network(2, lstm(), lstm(3)), (["a", "b"],), "of one kind and width"),
        (lambda: network(2, LSTM(3)), (["a", "b"],), "must return sequences"),
        (lambda: network(2, GRU(3, return_sequences=True, reset_after=False)), (["a", "b"],), "reset_after=True"),
        (lambda: network(2, SimpleRNN(3, "relu", return_sequences=True)), (["a", "b"],), "with tanh"),
        (lambda: network(2, lstm(), activation="tanh"), (["a", "b"],), "must give logits or probabilities"),
    ],
)
def test_what_is_no_language_model_is_refused(build: Callable[[], Model], arguments: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        language_model(build(), *arguments)


def test_a_beginning_that_is_no_token_is_refused() -> None:
    with pytest.raises(ValueError, match="bos must be one of the tokens, got 'x'"):
        language_model(network(2, lstm()), ["a", "b"], bos="x")


# The command ---------------------------------------------------------------------------------------------------------


def state_file(folder: Path, model: Model) -> Path:
    path = folder / "weights.safetensors"
    files.write_safetensors(path, to_pytorch(model))
    return path


@pytest.mark.parametrize("as_json", [list, lambda tokens: {token: i for i, token in enumerate(tokens)}, None])
def test_a_state_dict_becomes_a_language_model(tmp_path: Path, as_json: Any, capsys: Any) -> None:
    model = network(len(WORDS), lstm())
    vocabulary = tmp_path / "tokens"
    vocabulary.write_text("\n".join(WORDS) if as_json is None else json.dumps(as_json(WORDS)), encoding="utf-8")
    arguments = [state_file(tmp_path, model), tmp_path / "lm", "--vocabulary", vocabulary]
    assert main(["convert", *map(str, arguments)]) == 0
    expected = language_model(from_pytorch(to_pytorch(model)), WORDS)
    lm = LanguageModel.load(tmp_path / "lm")
    np.testing.assert_array_equal(lm.score(["the cat sat"]), expected.score(["the cat sat"]))
    assert "lm: " in capsys.readouterr().out


@pytest.mark.parametrize("name", ["model", "back.safetensors"])
def test_models_go_through_files(tmp_path: Path, name: str, capsys: Any) -> None:
    model = network(7, lstm(), lstm())
    assert main(["convert", "--json", str(state_file(tmp_path, model)), str(tmp_path / name)]) == 0
    assert json.loads(capsys.readouterr().out)["parameters"] == model.count_params()
    back = load(tmp_path / name)
    ids = RNG.integers(0, 7, (2, 5))
    np.testing.assert_array_equal(back.predict(ids, verbose=0), model.predict(ids, verbose=0))


def test_a_language_model_can_be_taken_elsewhere(tmp_path: Path) -> None:
    lm = language_model(network(len(TOKENS), lstm()), TOKENS, "char")
    lm.save(tmp_path / "lm")
    save(load(tmp_path / "lm"), tmp_path / "out.safetensors")
    state = files.read_safetensors(tmp_path / "out.safetensors")
    np.testing.assert_array_equal(state["embedding.weight"], lm.model.weights[0].value)


def test_a_folder_that_is_no_model_is_named(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "empty")


@pytest.mark.parametrize(
    ("name", "message"),
    [("a.pt", "is a pickle, which could run code and is not read"), ("a.txt", "must be a folder, or end in .keras")],
)
def test_other_files_are_refused(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(ValueError, match=message):
        load(tmp_path / name)


@pytest.mark.parametrize("name", ["a.keras", "a.h5", "a.pt"])
def test_names_of_formats_that_are_not_written_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match=r"must end in .onnx, .weights.h5 or .safetensors, or be a folder"):
        save(network(3, lstm()), tmp_path / name)


def test_a_line_of_a_vocabulary_may_hold_any_other_space(tmp_path: Path) -> None:
    (tmp_path / "tokens").write_text("a\nb\u2028x\n\f\nc\n", encoding="utf-8")
    assert read_tokens(tmp_path / "tokens") == ["a", "b\u2028x", "\f", "c"]


def test_options_that_would_do_nothing_are_refused(tmp_path: Path, capsys: Any) -> None:
    source = str(state_file(tmp_path, network(2, lstm())))
    assert main(["convert", source, str(tmp_path / "lm"), "--bos", "a"]) == 1
    assert "needs its --vocabulary" in capsys.readouterr().err
    (tmp_path / "tokens").write_text("a\nb")
    assert main(["convert", source, str(tmp_path / "lm.onnx"), "--vocabulary", str(tmp_path / "tokens")]) == 1
    assert "a language model is a folder" in capsys.readouterr().err


@pytest.mark.parametrize("text", ['{"a": 1, "b": 3}', '["a", 2]', "7"])
def test_a_vocabulary_that_is_none_is_refused(tmp_path: Path, text: str, capsys: Any) -> None:
    (tmp_path / "tokens").write_text(text)
    source = state_file(tmp_path, network(2, lstm()))
    assert main(["convert", str(source), str(tmp_path / "lm"), "--vocabulary", str(tmp_path / "tokens")]) == 1
    assert "must hold a list of tokens" in capsys.readouterr().err
