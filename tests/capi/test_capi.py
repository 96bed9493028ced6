"""What the C library gives is what Python gives, and what it refuses it refuses with a status and a sentence."""

import ctypes
import json
import shutil
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import recurlm
from recurlm import LanguageModel
from tests.fixtures import write as fixtures
from tests.python import samples

from . import library
from .library import DAMAGED_FILE, INVALID_ARGUMENT, IO_ERROR, LIBRARY, UNKNOWN_TEXT, Cache, Failure, Model

ROOT = Path(__file__).parents[2]
TEXTS = ["the cat", "a dog ran after the hat", "", "the mat was flat"]
VARIANTS: dict[str, dict[str, Any]] = {
    "char lstm": {"tokenizer": "char", "layers": 2},
    "byte gru": {"tokenizer": "byte", "cell": "gru"},
    "word rnn tied": {"tokenizer": "word", "cell": "rnn", "tie_weights": True},
    "bpe lstm tied": {"tokenizer": "bpe", "tie_weights": True},
}


@pytest.fixture(
    scope="module",
    params=[(v, p, packed) for v in VARIANTS for p in ("float32", "bfloat16", "int8") for packed in (False, True)],
    ids=str,
)
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[LanguageModel, Model]:
    variant, precision, packed = request.param
    folder = tmp_path_factory.mktemp("capi")
    lm = LanguageModel(units=20, seed=1, **VARIANTS[variant])
    lm.fit(samples.text_file(folder), epochs=1, batch_size=4, window=16, learning_rate=1e-2, verbose=False)
    lm = lm if precision == "float32" else lm.quantize(precision)
    lm.save(folder / "model", packed=packed)
    return lm, Model(folder / "model")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("capi") / "model"
    samples.trained(samples.text_file(path.parent), epochs=1).save(path)
    return path


def test_versions() -> None:
    assert LIBRARY.recurlm_version().decode() == recurlm.__version__
    assert LIBRARY.recurlm_abi() == 1


def test_vocabularies(pair: tuple[LanguageModel, Model]) -> None:
    lm, model = pair
    assert (model.size, model.bos_id) == (lm.tokenizer.vocabulary_size, lm.tokenizer.bos_id)
    ids = model.encode(b"the cat ran")
    assert ids == lm.tokenizer.encode("the cat ran").tolist()
    assert model.decode(ids) == "the cat ran"
    assert model.encode(b"the cat ran", capacity=len(ids) - 1) == [0] * len(ids)  # too little room: nothing written


@pytest.mark.parametrize("end", [False, True])
def test_scores(pair: tuple[LanguageModel, Model], end: bool) -> None:
    lm, model = pair
    np.testing.assert_allclose(model.score(TEXTS, end), lm.score(TEXTS, eos=end), rtol=1e-12)  # sums of the same bits


@pytest.mark.parametrize(
    "values",
    [
        {"temperature": 0.0},
        {"temperature": 0.8, "top_k": 5, "seed": 3},
        {"top_p": 0.9, "min_p": 0.02, "repetition_penalty": 1.2, "seed": 4},
        {"presence_penalty": 0.7, "frequency_penalty": 0.2, "seed": 5},
        {"max_tokens": 0},
    ],
    ids=str,
)
def test_generation(pair: tuple[LanguageModel, Model], values: dict[str, Any]) -> None:
    lm, model = pair
    expected = lm.generate("the ", **{"max_tokens": 200, "seed": 0, **values})
    assert model.generate("the ", **values) == expected


def test_beam_search(pair: tuple[LanguageModel, Model]) -> None:
    lm, model = pair
    options = {"max_tokens": 12, "width": 5, "best": 3, "length_penalty": 0.6}
    expected = lm.beam_search("the ", **options)  # type: ignore[arg-type]
    found = model.beam_search("the ", **options)
    assert found == [(e.text, e.score, e.log_probs.tolist(), e.ended) for e in expected]
    assert len(found) == 3


def test_texts_that_were_learned_apart_end(tmp_path: Path) -> None:
    lm = LanguageModel(units=24, seed=2)
    recipe = {"epochs": 30, "batch_size": 4, "window": 8, "learning_rate": 1e-2}
    lm.fit(["anna", "otto", "bob"] * 60, validation_split=0, verbose=False, **recipe)  # type: ignore[arg-type]
    lm.save(tmp_path / "names")
    model = Model(tmp_path / "names")
    for seed in range(5):
        name = model.generate("", temperature=0.3, seed=seed)
        assert name == lm.generate(temperature=0.3, seed=seed)
        assert name in {"anna", "otto", "bob"}
    found = model.beam_search("", best=3)
    assert [text for text, *_ in found] == [each.text for each in lm.beam_search(best=3)]
    assert {text for text, *_ in found} >= {"anna", "bob"}
    assert all(ended and len(log_probs) == len(text) + 1 for text, _, log_probs, ended in found)


def test_streams_go_on_token_by_token(folder: Path) -> None:
    lm, model = LanguageModel.load(folder), Model(folder)
    prompts = [[model.bos_id, *model.encode(text)] for text in (b"the cat", b"a")]
    state = model.begin(prompts, seed=5)
    twin = state.copy()
    ids, log_probs = state.draw(12, temperature=0.8)
    pieces = np.concatenate([twin.draw(count, temperature=0.8)[0] for count in (1, 4, 7)], axis=1)
    np.testing.assert_array_equal(pieces, ids)
    again = model.begin(prompts)
    read, predictions = again.read(ids)
    np.testing.assert_array_equal(read, log_probs)
    assert predictions.shape == ids.shape
    for row, prompt in zip(ids, ("the cat", "a"), strict=True):
        whole, known = lm.score([prompt + lm.tokenizer.decode(row), prompt])
        assert float(read[list(ids[:, 0]).index(row[0])].sum()) == pytest.approx(whole - known, abs=1e-4)


def test_streams_that_come_and_go(folder: Path) -> None:
    model = Model(folder)
    prompts = [[model.bos_id, *model.encode(text)] for text in (b"the cat", b"a", b"dog")]
    alone = [model.begin([prompt], seed=s).draw(9)[0][0].tolist() for s, prompt in enumerate(prompts)]
    first = model.begin([prompts[0]], seed=0)
    begun = first.draw(4)[0][0].tolist()
    state = first.join(model.begin([prompts[1]], seed=1))
    ids, _ = state.draw(5)
    assert begun + ids[0].tolist() == alone[0]
    assert ids[1].tolist() == alone[1][:5]
    state = state.select([1, 0])
    state.reset(1, prompts[2], seed=2)
    ids, _ = state.draw(4)
    assert ids.tolist() == [alone[1][5:], alone[2][:4]]


def test_prompts_that_are_kept(folder: Path) -> None:
    model = Model(folder)
    cache = Cache(model, 1 << 20)
    prompts = [[model.bos_id, *model.encode(text)] for text in (b"the cat", b"the cat ran", b"the dog", b"the cat ran")]
    for prompt in prompts:
        np.testing.assert_array_equal(model.begin([prompt], 3, cache).draw(9), model.begin([prompt], 3).draw(9))
    with pytest.raises(Failure, match="the cache must be one that was made for the model"):
        Model(folder).begin(prompts, 3, cache)


def test_many_threads_get_what_one_gets(folder: Path) -> None:
    model = Model(folder)

    def work(i: int) -> Any:
        if i % 2:
            return model.generate("the ", seed=i, max_tokens=40)
        return model.score([f"the cat {'ran ' * (i % 7)}", "a"])

    serial = [work(i) for i in range(60)]
    with ThreadPoolExecutor(16) as pool:
        for results in (pool.map(work, range(60)) for _ in range(5)):
            assert list(results) == serial


OLD = [(folder.parent.name, folder.name) for folder in sorted((ROOT / "tests/fixtures").glob("version_*/*-*"))]


@pytest.mark.parametrize(("version", "name"), OLD)
def test_models_of_every_format_version(version: str, name: str) -> None:
    folder = ROOT / "tests/fixtures" / version
    if "unicode-words" in name:  # cut by classes of Unicode, which C++ has no tables of
        assert "pre_tokenizer" in failure(DAMAGED_FILE, lambda: Model(folder / name))
        return
    expected = json.loads((folder / "expected.json").read_text())["language_models"][name.removesuffix("-packed")]
    found = Model(folder / name).score(fixtures.PROBES)
    np.testing.assert_allclose(found, [sum(row) for row in expected], atol=0.1 if "int8" in name else 1e-4)


# Errors --------------------------------------------------------------------------------------------------------------


def failure(status: int, body: Callable[[], Any]) -> str:
    with pytest.raises(Failure) as caught:
        body()
    assert caught.value.status == status
    message = str(caught.value)
    assert message
    assert "\n" not in message
    return message


def test_files_that_are_missing(tmp_path: Path, folder: Path) -> None:
    assert "No such file" in failure(IO_ERROR, lambda: Model(tmp_path / "none"))
    copied = tmp_path / "copied"
    shutil.copytree(folder, copied)
    (copied / "model.safetensors").unlink()
    assert "model.safetensors" in failure(IO_ERROR, lambda: Model(copied))
    (copied / "model.safetensors").mkdir()
    assert "Is a directory" in failure(IO_ERROR, lambda: Model(copied))


def _saved(tmp_path: Path, folder: Path, packed: bool) -> Path:
    if packed:
        LanguageModel.load(folder).save(tmp_path / "packed", packed=True)
    return tmp_path / "packed" if packed else folder


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"units": 40}, "has another shape or type"),
        ({"units": 2**31}, "has another shape or type"),
        ({"layers": 3}, 'the array "cells.2.kernel" is missing'),
        ({"layers": 1}, "there are arrays that no part of the model has"),
        ({"precision": "int8"}, "has another shape or type"),
        ({"kind": "language_model"}, "No such file"),
    ],
)
def test_packed_files_that_do_not_fit(tmp_path: Path, folder: Path, change: dict[str, Any], message: str) -> None:
    packed = _saved(tmp_path, folder, True)
    config = json.loads((packed / "config.json").read_text()) | change
    (packed / "config.json").write_text(json.dumps(config))
    status = IO_ERROR if "kind" in change else DAMAGED_FILE
    assert message in failure(status, lambda: Model(packed))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format_version": 2}, "config.json: expected an integer from 1 to 1, got 2"),
        ({"kind": "model"}, '"model" is a kind that another function opens, or none'),
        ({"format": "recurlm.Model"}, "it is a Model: recurlm pack makes what this library opens"),
        ({"cell": "transformer"}, '"transformer" is not known here'),
        ({"units": 25}, "has another shape or type"),
        ({"units": 0}, "expected an integer from 1"),
        ({"layers": 3}, 'the array "lstm_2.kernel" is missing'),
        ({"layers": 1}, "there are arrays that no part of the model has"),
        ({"tokenizer": "word"}, "is of another kind than config.json says"),
        ({"precision": "int8"}, "has another shape or type"),
    ],
)
def test_configurations_that_do_not_fit(tmp_path: Path, folder: Path, change: dict[str, Any], message: str) -> None:
    copied = tmp_path / "copied"
    shutil.copytree(folder, copied)
    config = json.loads((copied / "config.json").read_text()) | change
    (copied / "config.json").write_text(json.dumps(config))
    assert message in failure(DAMAGED_FILE, lambda: Model(copied))


@pytest.mark.parametrize("packed", [False, True])
def test_damaged_files(tmp_path: Path, folder: Path, packed: bool) -> None:
    """Bytes changed or cut off: refused, or a model all the same, where only weights or names have changed."""
    copied, folder = tmp_path / "copied", _saved(tmp_path, folder, packed)
    shutil.copytree(folder, copied)
    rng = np.random.default_rng(5)
    refused = 0
    for name in ("config.json", "tokenizer.json", "packed.safetensors" if packed else "model.safetensors"):
        whole = (folder / name).read_bytes()
        for _ in range(150):
            changed = bytearray(whole)
            for place in rng.integers(0, min(len(whole), 2000), rng.integers(1, 4)):
                changed[place] = rng.integers(256)
            (copied / name).write_bytes(changed[: rng.integers(len(whole) + 1)] if rng.random() < 0.3 else changed)
            try:
                Model(copied)
            except Failure as error:
                refused += 1
                assert error.status == DAMAGED_FILE, error  # noqa: PT017 - the other branch is the point
        (copied / name).write_bytes(whole)
    assert refused > 200


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"temperature": -1.0}, "temperature must be 0, or from 0.001 to 1000"),
        ({"temperature": float("nan")}, "temperature must be 0"),
        ({"top_k": -1}, "top_k must be at least 0"),
        ({"top_p": 0.0}, "top_p must be above 0"),
        ({"min_p": 2.0}, "min_p must be from 0 to 1"),
        ({"repetition_penalty": 0.0}, "repetition_penalty must be from 1e-6 to 1e6"),
        ({"max_tokens": -1}, "max_tokens must be at least 0"),
        ({"seed": 2**63}, "seed must be below 2^63"),
        ({"size": 3}, "options must be initialised with their init function"),
        ({"size": 1000}, "options must be initialised with their init function"),
    ],
)
def test_options_that_are_not_possible(folder: Path, values: dict[str, Any], message: str) -> None:
    assert message in failure(INVALID_ARGUMENT, lambda: Model(folder).generate("the", **values))


def test_texts_and_ids_that_are_not_possible(folder: Path) -> None:
    model = Model(folder)
    assert "is not among the" in failure(UNKNOWN_TEXT, lambda: model.encode("Ω".encode()))
    assert "is not UTF-8" in failure(UNKNOWN_TEXT, lambda: model.encode(b"the \xff"))
    assert "is not among the" in failure(UNKNOWN_TEXT, lambda: model.generate("Ω"))
    assert "ids must be from 0" in failure(INVALID_ARGUMENT, lambda: model.decode([model.size]))
    assert "ids must be from 0" in failure(INVALID_ARGUMENT, lambda: model.begin([[0, -1]]))
    assert "at least one id" in failure(INVALID_ARGUMENT, lambda: model.begin([[0], []]))
    state = model.begin([[0]])
    assert "streams must be from 0" in failure(INVALID_ARGUMENT, lambda: state.select([1]))
    assert "stream must be from 0" in failure(INVALID_ARGUMENT, lambda: state.reset(1, [0]))
    assert "ids must not be empty" in failure(INVALID_ARGUMENT, lambda: state.reset(0, []))
    assert "of one model" in failure(INVALID_ARGUMENT, lambda: state.join(Model(folder).begin([[0]])))
    for values, message in [
        ({"width": 0}, "width must be from 1"),
        ({"best": 5}, "best must be from 1 to width"),
        ({"max_tokens": -1}, "max_tokens must be at least 0"),
        ({"length_penalty": float("nan")}, "length_penalty must be"),
    ]:
        assert message in failure(INVALID_ARGUMENT, lambda values=values: model.beam_search("", **values))  # type: ignore[misc]
    assert "ids must be from 0" in failure(INVALID_ARGUMENT, lambda: state.read([[model.size]]))


def test_null_is_refused_and_given_back() -> None:
    for name, arguments in library._SIGNATURES.items():
        nothing = [0 if kind in (ctypes.c_size_t, ctypes.c_int32, ctypes.c_uint64) else None for kind in arguments]
        assert failure(INVALID_ARGUMENT, lambda name=name, nothing=nothing: library.call(name, *nothing))
    for name in ("model_close", "generation_end", "state_free", "beams_free", "cache_free"):
        getattr(LIBRARY, f"recurlm_{name}")(None)
    LIBRARY.recurlm_options_init(None)
    LIBRARY.recurlm_beam_options_init(None)


# As others use it -----------------------------------------------------------------------------------------------------


def test_the_header_is_c(tmp_path: Path) -> None:
    source = tmp_path / "header.c"
    source.write_text('#include "recurlm.h"\nint main(void) { return recurlm_abi() != RECURLM_ABI; }\n')
    flags = ["-std=c99", "-Wall", "-Wextra", "-pedantic", "-Werror", "-fsyntax-only", f"-I{ROOT / 'csrc/capi'}"]
    subprocess.run(["cc", *flags, str(source)], check=True)


def test_programs_that_embed_it(tmp_path: Path, folder: Path) -> None:
    """The examples, built against an installed copy."""
    where = tmp_path / "installed"
    build = Path(library.PATH).parent
    run = {"check": True, "capture_output": True, "text": True}
    subprocess.run(["cmake", "--install", build, "--prefix", where, "--component", "library"], **run)  # type: ignore[call-overload]
    made = tmp_path / "build"
    subprocess.run(["cmake", "-S", ROOT / "examples/embed", "-B", made, f"-DCMAKE_PREFIX_PATH={where}"], **run)  # type: ignore[call-overload]
    subprocess.run(["cmake", "--build", made], **run)  # type: ignore[call-overload]
    lm = LanguageModel.load(folder)
    generated = subprocess.run([made / "generate", folder, "the ", "7"], **run)  # type: ignore[call-overload]
    assert generated.stdout == lm.generate("the ", max_tokens=200, temperature=0.8, seed=7)
    scored = subprocess.run([made / "score", folder], input="the cat\na dog\n", **run)  # type: ignore[call-overload]
    expected = lm.score(["the cat", "a dog"])
    assert scored.stdout == f"{expected[0]:.6f}\tthe cat\n{expected[1]:.6f}\ta dog\n"
    failed = subprocess.run([made / "generate", tmp_path / "none", "x"], capture_output=True, text=True)
    assert failed.returncode == 1
    assert failed.stderr.startswith("generate: ")


def test_tokenizers_of_others_are_refused_by_name(tmp_path: Path) -> None:
    tokenizers = pytest.importorskip("tokenizers")
    made = tokenizers.Tokenizer(tokenizers.models.BPE())
    made.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    special = ["<|endoftext|>"]
    made.train_from_iterator([samples.text()], tokenizers.trainers.BpeTrainer(vocab_size=80, special_tokens=special))
    (tmp_path / "gpt2.json").write_text(made.to_str(), encoding="utf-8")
    LanguageModel(units=4, tokenizer=str(tmp_path / "gpt2.json")).save(tmp_path / "model")
    message = failure(DAMAGED_FILE, lambda: Model(tmp_path / "model"))
    assert 'tokenizer.json: the added token "<|endoftext|>" is not supported here, only in Python' in message
