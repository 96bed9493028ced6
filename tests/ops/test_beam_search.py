"""Beam search: against an exhaustive search where the beam holds everything, else against one in plain Python."""

import itertools
from typing import Any

import numpy as np
import pytest

from recurlm import _core
from tests.ops import calls
from tests.ops.test_decoder import GREEDY, from_logits
from tests.reference import decoding
from tests.reference.cases import CellSpec, Int32, double, normal, recurrent_case

VOCABULARY = 5
END = 1


def make(seed: int = 0) -> tuple[_core.PackedModel, decoding.LanguageModel]:
    """A small model whose tokens matter to what follows."""
    rng = np.random.default_rng(seed)
    spec, units = CellSpec("lstm"), 7
    case = recurrent_case(spec, (1, 1, 4, units), seed=seed)
    embedding, kernel = normal(rng, VOCABULARY, 4, scale=2.0), normal(rng, units, VOCABULARY, scale=3.0)
    bias = normal(rng, VOCABULARY)
    cell = (calls.core_cell(spec, 4, units), case.kernel, case.recurrent_kernel, case.bias)
    zero = tuple(np.zeros((1, units)) for _ in range(spec.states))
    layers = [(spec.reference(), case.reference_parameters(), zero)]
    reference = decoding.LanguageModel(double(embedding), layers, double(kernel), double(bias))
    return _core.PackedModel(embedding, [cell], kernel, bias), reference


def exhaustive(reference: decoding.LanguageModel, prompt: list[int], length: int, alpha: float) -> list[Any]:
    """All texts of ``length`` without an end, and all shorter ones with one, by descending score."""
    found = []
    for count in range(1, length + 1):
        for ids in itertools.product(range(VOCABULARY), repeat=count):
            ends = [i for i in ids if i == END]
            if ids[0] == 0 or 0 in ids:  # banned
                continue
            if (ends and (len(ends) > 1 or ids[-1] != END)) or (not ends and count < length):
                continue
            table = reference.log_probs([*prompt, *ids])[len(prompt) - 1 : -1]
            log_probs = table[np.arange(count), list(ids)]
            found.append((log_probs.sum() / ((5 + count) / 6) ** alpha, list(ids), log_probs))
    return sorted(found, key=lambda each: -each[0])


def search(model: _core.PackedModel, prompt: list[int], **options: Any) -> list[tuple[Int32, Any, float]]:
    state = model.begin([np.array(prompt, np.int32)], 1, np.array([0], np.int32))
    return model.search_beams(state, stop_ids=np.array([END], np.int32), **options)


@pytest.mark.parametrize("alpha", [0.0, 0.7, 1.0, 5.0, -0.5])
@pytest.mark.parametrize("seed", range(4))
def test_a_beam_that_holds_everything_finds_the_best(seed: int, alpha: float, isa: str) -> None:
    model, reference = make(seed)
    expected = exhaustive(reference, [2, 3], 4, alpha)[:6]
    found = search(model, [2, 3], width=200, max_tokens=4, length_penalty=alpha, best=6)
    assert [ids.tolist() for ids, _, _ in found] == [ids for _, ids, _ in expected]
    for (_, log_probs, score), (expected_score, _, expected_log_probs) in zip(found, expected, strict=True):
        calls.assert_close(log_probs, expected_log_probs, 1e-5)
        assert score == pytest.approx(expected_score, abs=1e-4)


def narrow(reference: decoding.LanguageModel, prompt: list[int], width: int, length: int) -> list[list[int]]:
    """Beams of ``width``, in plain Python, where nothing ends."""
    beams: list[tuple[float, list[int]]] = [(0.0, [])]
    for _ in range(length):
        longer = []
        for total, ids in beams:
            row = reference.log_probs([*prompt, *ids])[-1]
            longer += [(total + row[v], [*ids, v]) for v in range(1, VOCABULARY)]
        beams = sorted(longer, key=lambda each: -each[0])[:width]
    return [ids for _, ids in beams]


@pytest.mark.parametrize("width", [1, 2, 3, 7])
def test_a_narrow_beam(width: int, threads: int) -> None:
    model, reference = make(5)
    state = model.begin([np.array([2], np.int32)], 1, np.array([0], np.int32))
    found = model.search_beams(state, width=width, max_tokens=9, best=width)
    assert [ids.tolist() for ids, _, _ in found] == narrow(reference, [2], width, 9)
    greedy, _ = model.generate(state, 9, GREEDY)  # the state stays where it is
    if width == 1:
        assert found[0][0].tolist() == greedy[0].tolist()


def test_the_longest_text() -> None:
    """Nothing is found in no tokens; a beam wider than the vocabulary starts with what there is."""
    model, _ = make()
    assert [ids.tolist() for ids, _, _ in search(model, [2], max_tokens=0)] == [[]]
    assert len(search(model, [2], max_tokens=1, width=50, best=50)) == VOCABULARY - 1


def test_what_is_not_possible() -> None:
    model, _ = make()
    state = model.begin([np.array([2], np.int32)], 1)
    for options, message in [
        ({"width": 0}, "width must be from 1"),
        ({"best": 5}, "best must be from 1 to width"),
        ({"best": 0}, "best must be from 1 to width"),
        ({"max_tokens": -1}, "max_tokens must be at least 0"),
        ({"length_penalty": float("nan")}, "length_penalty must be"),
    ]:
        with pytest.raises(ValueError, match=message):
            model.search_beams(state, **options)  # type: ignore[arg-type]
    ended = model.begin([np.array([2], np.int32)], 1)
    model.generate(ended, 1, GREEDY, np.arange(VOCABULARY, dtype=np.int32))
    with pytest.raises(ValueError, match="state has ended"):
        model.search_beams(ended)
    with pytest.raises(ValueError, match="state must have one stream, not 2"):
        model.search_beams(model.begin([np.array([2], np.int32)] * 2, 1))
    broken = from_logits([float("nan"), 1.0])
    with pytest.raises(ValueError, match="the model's output is not finite"):
        broken.search_beams(broken.begin([np.array([0], np.int32)], 1))
