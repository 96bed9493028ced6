"""How a model's texts are drawn where a call does not say."""

import copy
import dataclasses
import inspect
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recurlm import GenerationConfig, LanguageModel
from recurlm.cli import main
from tests.python import samples


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> LanguageModel:
    return samples.trained(samples.text_file(tmp_path_factory.mktemp("text")))


@pytest.fixture
def lm(trained: LanguageModel) -> LanguageModel:
    return copy.copy(trained)


GIVEN: dict[str, Any] = {
    "max_tokens": 150,
    "temperature": 1.3,
    "top_k": 5,
    "top_p": 0.8,
    "min_p": 0.3,
    "repetition_penalty": 1.3,
    "presence_penalty": 0.4,
    "frequency_penalty": 0.2,
}


@pytest.mark.parametrize("name", GIVEN)
def test_what_a_call_leaves_out_is_the_models(lm: LanguageModel, name: str) -> None:
    """All but one given in the call, and that one by the model."""
    others = {other: value for other, value in GIVEN.items() if other != name}
    expected = lm.generate("the ", seed=3, **GIVEN)
    assert lm.generate("the ", seed=3, **others) != expected
    lm.generation_config = GenerationConfig(**{name: GIVEN[name]})
    assert lm.generate("the ", seed=3, **others) == expected


def test_what_a_call_says_counts(lm: LanguageModel) -> None:
    plain = {field: getattr(GenerationConfig(), field) for field in GIVEN}
    expected = lm.generate("the ", seed=3, **plain)
    lm.generation_config = GenerationConfig(**GIVEN)
    assert lm.generate("the ", seed=3, **plain) == expected != lm.generate("the ", seed=3)


def test_it_goes_wherever_the_model_goes(lm: LanguageModel, tmp_path: Path) -> None:
    lm.generation_config = config = GenerationConfig(**GIVEN)
    lm.save_pretrained(tmp_path / "model")
    loaded = LanguageModel.from_pretrained(tmp_path / "model")
    assert loaded.generation_config == config
    assert loaded.generate("the ", seed=1) == lm.generate("the ", seed=1)
    assert pickle.loads(pickle.dumps(lm)).generation_config == config
    narrow = lm.quantize()
    assert narrow.generation_config == config
    narrow.generation_config.temperature = 0
    assert lm.generation_config.temperature == GIVEN["temperature"]


def test_the_command_follows_it(lm: LanguageModel, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lm.generation_config = GenerationConfig(max_tokens=7, temperature=0)
    lm.save(tmp_path / "model")
    assert main(["generate", str(tmp_path / "model"), "--prompt", "the "]) == 0
    assert capsys.readouterr().out == f"the {lm.generate('the ')}\n"
    assert main(["generate", str(tmp_path / "model"), "--prompt", "the ", "--max-tokens", "3"]) == 0
    assert capsys.readouterr().out == f"the {lm.generate('the ', max_tokens=3)}\n"


def test_the_file_is_hugging_faces(lm: LanguageModel, tmp_path: Path) -> None:
    """What transformers writes is read, and what it would not know of ours is there too."""
    lm.generation_config = GenerationConfig(max_tokens=50, temperature=0)
    lm.save(tmp_path / "model")
    path = tmp_path / "model" / "generation_config.json"
    assert json.loads(path.read_text()) == {
        "max_new_tokens": 50, "temperature": 0, "do_sample": False, "top_k": 0, "top_p": 1.0, "min_p": 0.0,
        "repetition_penalty": 1.0, "presence_penalty": 0.0, "frequency_penalty": 0.0,
    }  # fmt: skip
    theirs = {"_from_model_config": True, "bos_token_id": 1, "do_sample": True, "temperature": 0.6, "top_p": 0.9}
    path.write_text(json.dumps(theirs | {"min_p": None, "transformers_version": "4.57.1"}))
    expected = GenerationConfig(temperature=0.6, top_p=0.9, top_k=50)  # what transformers leaves out is its default
    assert LanguageModel.load(tmp_path / "model").generation_config == expected
    path.write_text(json.dumps({"max_new_tokens": 10, "transformers_version": "4.57.1"}))
    expected = GenerationConfig(max_tokens=10, temperature=0, top_k=50)
    assert LanguageModel.load(tmp_path / "model").generation_config == expected
    path.write_text(json.dumps({"do_sample": False, "temperature": 0.6}))
    assert LanguageModel.load(tmp_path / "model").generation_config == GenerationConfig(temperature=0)
    path.write_text(json.dumps({"do_sample": "no"}))
    with pytest.raises(
        ValueError, match=r"generation_config.json is damaged: do_sample must be true or false, got 'no'"
    ):
        LanguageModel.load(tmp_path / "model")


def test_models_of_earlier_versions_have_none(lm: LanguageModel, tmp_path: Path) -> None:
    lm.save(tmp_path / "model")
    (tmp_path / "model" / "generation_config.json").unlink()
    assert LanguageModel.load(tmp_path / "model").generation_config == GenerationConfig()


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"max_tokens": -1}, "max_tokens must be an integer from 0"),
        ({"temperature": "hot"}, "temperature must be a number, got 'hot'"),
        ({"top_p": 0.0}, "top_p must be"),
        ({"top_k": -1}, "top_k must be"),
    ],
)
def test_what_is_not_possible_is_refused_at_once(given: dict[str, Any], sentence: str) -> None:
    with pytest.raises((TypeError, ValueError), match=sentence):
        GenerationConfig(**given)
    config = GenerationConfig()
    with pytest.raises((TypeError, ValueError), match=sentence):
        setattr(config, *next(iter(given.items())))
    assert config == GenerationConfig()


def test_no_unknown_names() -> None:
    with pytest.raises(TypeError, match="beams"):
        GenerationConfig(beams=4)  # type: ignore[call-arg]
    with pytest.raises(AttributeError, match="has no 'heat': it has max_tokens, temperature"):
        GenerationConfig().heat = 1.0  # type: ignore[attr-defined]


def test_only_a_config_may_stand_there(lm: LanguageModel) -> None:
    with pytest.raises(TypeError, match="must be a GenerationConfig, got dict"):
        lm.generation_config = {"temperature": 0.5}  # type: ignore[assignment]


def test_numbers_of_numpy_are_saved(lm: LanguageModel, tmp_path: Path) -> None:
    lm.generation_config = GenerationConfig(temperature=np.float32(0.5), top_k=np.int64(4))  # type: ignore[arg-type]
    lm.save(tmp_path / "model")
    assert LanguageModel.load(tmp_path / "model").generation_config == GenerationConfig(temperature=0.5, top_k=4)


def test_a_resumed_training_goes_on_with_it(tmp_path: Path) -> None:
    text = samples.text_file(tmp_path)
    config = GenerationConfig(temperature=0.25)
    options: dict[str, Any] = {"checkpoint_dir": tmp_path / "checkpoints", "verbose": False, "batch_size": 4}
    lm = LanguageModel(units=8)
    lm.generation_config = config
    lm.fit(text, epochs=1, **options)
    again = LanguageModel(units=8)
    again.fit(text, epochs=2, resume=True, **options)
    assert again.generation_config == config


def test_models_pickled_by_earlier_versions(lm: LanguageModel) -> None:
    restore, (values,) = lm.__reduce__()
    assert restore({name: value for name, value in values.items() if name != "generation"}).generation_config == (
        GenerationConfig()
    )


def test_the_docstring_tells_the_defaults() -> None:
    lines = inspect.getdoc(LanguageModel.generate).splitlines()  # type: ignore[union-attr]
    for field in dataclasses.fields(GenerationConfig):
        (line,) = (line for line in lines if line.strip().startswith(f"{field.name}:"))
        assert line.endswith(f"({field.default:g}).")


def test_the_command_keeps_what_was_set_on_the_model_since(tmp_path: Path) -> None:
    text, out = samples.text_file(tmp_path), tmp_path / "m"
    command = ["train", str(text), "--out", str(out), "--units", "8", "--batch-size", "4", "--epochs"]
    assert main([*command, "1"]) == 0
    lm = LanguageModel.load(out)
    lm.generation_config.temperature = 0.25
    lm.save(out)
    assert main([*command, "2", "--resume"]) == 0
    assert LanguageModel.load(out).generation_config == GenerationConfig(temperature=0.25)
