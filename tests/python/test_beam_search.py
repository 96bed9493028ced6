"""``LanguageModel.beam_search``; tests/ops/test_beam_search.py holds the search itself to the reference."""

from typing import Any

import pytest

from recurlm import LanguageModel

from . import samples


@pytest.fixture(scope="module")
def lm(tmp_path_factory: pytest.TempPathFactory) -> LanguageModel:
    return samples.trained(samples.text_file(tmp_path_factory.mktemp("text")))


def test_a_beam_of_one_is_greedy(lm: LanguageModel) -> None:
    (found,) = lm.beam_search("the ", 20, width=1)
    assert found.text == lm.generate("the ", 20, temperature=0)
    assert not found.ended
    whole, prompt = lm.score(["the " + found.text, "the "])
    assert found.log_prob == pytest.approx(whole - prompt, abs=1e-3)
    assert found.score == pytest.approx(found.log_prob)


def test_a_wider_beam_finds_texts_at_least_as_probable(lm: LanguageModel) -> None:
    found = lm.beam_search("a dog ", 15, width=8, best=8, length_penalty=1.0)
    assert len({each.text for each in found}) == len(found) == 8
    scores = [each.score for each in found]
    assert scores == sorted(scores, reverse=True)
    assert found[0].log_prob >= lm.beam_search("a dog ", 15, width=1)[0].log_prob - 1e-4


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"width": 0}, ValueError, "width must be"),
        ({"best": 5}, ValueError, "best must be at most width, 4, got 5"),
        ({"max_tokens": -1}, ValueError, "max_tokens must be"),
        ({"length_penalty": "much"}, TypeError, "length_penalty must be a number, got 'much'"),
        ({"length_penalty": float("nan")}, ValueError, "length_penalty must be"),
    ],
)
def test_beams_that_are_not_possible(
    lm: LanguageModel, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        lm.beam_search("the ", **options)
