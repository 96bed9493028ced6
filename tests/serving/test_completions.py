"""Completions by the official client of OpenAI: what the server gives is what ``generate`` and ``score`` give."""

from typing import Any

import numpy as np
import openai
import pytest

from recurlm import LanguageModel
from recurlm.serving.protocol import LONG
from recurlm.text.tokenizers import ByteTokenizer

from .conftest import running

SAMPLINGS: list[dict[str, Any]] = [
    {"temperature": 0},
    {"temperature": 0.7, "top_p": 0.9},
    {"presence_penalty": 0.5, "frequency_penalty": -0.2},
    {"extra_body": {"top_k": 3, "min_p": 0.01, "repetition_penalty": 1.2}},
]


def plain(options: dict[str, Any]) -> dict[str, Any]:
    return {**options, **options.get("extra_body", {})} | {"extra_body": None}


def generated(lm: LanguageModel, prompt: str, options: dict[str, Any], **others: Any) -> str:
    named = {name: value for name, value in plain(options).items() if name != "extra_body"}
    return lm.generate(prompt, **named, **others)


@pytest.mark.parametrize("options", SAMPLINGS, ids=str)
def test_a_completion_is_what_generate_gives(client: openai.OpenAI, lm: LanguageModel, options: dict[str, Any]) -> None:
    found = client.completions.create(model="cats", prompt="the cat ", max_tokens=50, seed=7, **options)
    assert found.choices[0].text == generated(lm, "the cat ", options, max_tokens=50, seed=7)
    assert found.choices[0].finish_reason == "length"
    assert found.model == "cats"
    assert found.object == "text_completion"
    assert found.usage is not None
    assert (found.usage.prompt_tokens, found.usage.completion_tokens, found.usage.total_tokens) == (8, 50, 58)


@pytest.mark.parametrize("prompt", ["the cat ", "the cat sat on the mat " * 250], ids=["short", "long"])
@pytest.mark.parametrize("max_tokens", [20, LONG + 1])
def test_what_is_long_is_no_different(client: openai.OpenAI, lm: LanguageModel, prompt: str, max_tokens: int) -> None:
    """Long prompts are read by a thread, long answers written by one."""
    found = client.completions.create(
        model="cats", prompt=[prompt, prompt[:7]], max_tokens=max_tokens, seed=5, logprobs=1
    )
    assert [choice.text for choice in found.choices] == [
        lm.generate(each, max_tokens, seed=5) for each in (prompt, prompt[:7])
    ]
    for choice in found.choices:
        assert choice.logprobs is not None
        assert choice.logprobs.tokens is not None
        assert "".join(choice.logprobs.tokens) == choice.text


@pytest.mark.parametrize("options", SAMPLINGS, ids=str)
def test_the_pieces_of_a_stream_are_the_text(client: openai.OpenAI, lm: LanguageModel, options: dict[str, Any]) -> None:
    stream = client.completions.create(
        model="cats", prompt="a dog", max_tokens=300, seed=3, n=2, stream=True, stream_options={"include_usage": True},
        **options,
    )  # fmt: skip
    texts, reasons, usage = ["", ""], ["", ""], None
    for event in stream:
        usage = event.usage or usage
        for choice in event.choices:
            assert not reasons[choice.index]
            texts[choice.index] += choice.text
            reasons[choice.index] = choice.finish_reason
    assert texts == generated(lm, "a dog", options, max_tokens=300, seed=3, samples=2)
    assert reasons == ["length", "length"]
    assert usage is not None
    assert usage.completion_tokens == 600


def test_prompts_as_texts_and_ids(client: openai.OpenAI, lm: LanguageModel) -> None:
    prompts = ["the cat", "a dog"]
    ids = [lm.tokenizer.encode(prompt).tolist() for prompt in prompts]
    expected = [lm.generate(prompt, 9, seed=4) for prompt in prompts]
    for given, wanted in [
        (prompts, expected),
        (ids, expected),
        (ids[0], expected[:1]),
        ([lm.tokenizer.bos_id, *ids[0]], expected[:1]),
        ("", [lm.generate("", 9, seed=4)]),
        ([[]], [lm.generate("", 9, seed=4)]),
    ]:
        found = client.completions.create(model="cats", prompt=given, max_tokens=9, seed=4)
        assert [choice.text for choice in found.choices] == wanted
        assert [choice.index for choice in found.choices] == list(range(len(wanted)))


@pytest.mark.parametrize("stop", ["at", ["dog", " ran", "\n"]], ids=str)
def test_stops(client: openai.OpenAI, lm: LanguageModel, stop: Any) -> None:
    """Nothing behind a stop counts: not in the usage, not among the tokens."""
    whole, expected = lm.generate("the ", 200, seed=5), lm.generate("the ", 200, seed=5, stop=stop)
    stops = [stop] if isinstance(stop, str) else stop
    completes = min(len(s) for s in stops if whole[len(expected) :].startswith(s))
    found = client.completions.create(model="cats", prompt="the ", max_tokens=200, seed=5, stop=stop)
    assert (found.choices[0].text, found.choices[0].finish_reason) == (expected, "stop")
    assert found.usage.completion_tokens == len(expected) + completes
    stream = client.completions.create(
        model="cats", prompt="the ", max_tokens=200, seed=5, stop=stop, stream=True, logprobs=0
    )
    events = [choice for event in stream for choice in event.choices]
    assert "".join(choice.text for choice in events) == expected
    assert "".join(token for choice in events for token in choice.logprobs.tokens) == expected
    assert events[-1].finish_reason == "stop"


def test_log_probs(client: openai.OpenAI, lm: LanguageModel) -> None:
    found = client.completions.create(model="cats", prompt="the cat", max_tokens=12, seed=2, logprobs=4).choices[0]
    scores = found.logprobs
    assert scores is not None
    assert "".join(scores.tokens) == found.text
    (whole,) = lm.score(["the cat" + found.text], details=True)
    np.testing.assert_allclose(scores.token_logprobs, [each.log_prob for each in whole.tokens[7:]], atol=1e-5)
    assert scores.text_offset == list(range(7, 19))
    for token, log_prob, top in zip(scores.tokens, scores.token_logprobs, scores.top_logprobs, strict=True):
        assert top[token] == log_prob
        assert 4 <= len(top) <= 5
        assert all(value <= max(top.values()) for value in top.values())
    greedy = client.completions.create(model="cats", prompt="the cat", max_tokens=12, temperature=0, logprobs=1)
    assert all(len(top) == 1 for top in greedy.choices[0].logprobs.top_logprobs)


def test_echo_scores_the_prompt(client: openai.OpenAI, lm: LanguageModel) -> None:
    """As harnesses for evaluation ask: no token drawn, the prompt's own log-probabilities."""
    prompt = "the cat sat"
    found = client.completions.create(model="cats", prompt=prompt, max_tokens=0, echo=True, logprobs=2).choices[0]
    assert found.text == prompt
    (expected,) = lm.score([prompt], details=True)
    np.testing.assert_allclose(found.logprobs.token_logprobs, [t.log_prob for t in expected.tokens], atol=1e-5)
    assert found.logprobs.text_offset == list(range(len(prompt)))
    both = client.completions.create(model="cats", prompt=prompt, max_tokens=8, echo=True, logprobs=2, seed=1).choices[
        0
    ]
    assert both.text == prompt + lm.generate(prompt, 8, seed=1)
    assert "".join(both.logprobs.tokens) == both.text
    assert both.logprobs.text_offset == list(range(len(prompt) + 8))
    assert both.logprobs.top_logprobs[: len(prompt)] == found.logprobs.top_logprobs
    stream = client.completions.create(
        model="cats", prompt=prompt, max_tokens=8, echo=True, logprobs=2, seed=1, stream=True
    )
    events = [choice for event in stream for choice in event.choices]
    assert "".join(choice.text for choice in events) == both.text
    assert [p for choice in events for p in choice.logprobs.token_logprobs] == both.logprobs.token_logprobs


def test_best_of(client: openai.OpenAI, lm: LanguageModel) -> None:
    found = client.completions.create(model="cats", prompt="the ", max_tokens=10, seed=6, n=2, best_of=8)
    texts = lm.generate("the ", 10, seed=6, samples=8)
    order = np.argsort([-value for value in lm.score(["the " + text for text in texts])], kind="stable")
    assert [choice.text for choice in found.choices] == [texts[i] for i in order[:2]]
    assert found.usage.completion_tokens == 80


def test_logit_bias(client: openai.OpenAI, lm: LanguageModel) -> None:
    space, a = (int(lm.tokenizer.encode(character)[0]) for character in " a")
    found = client.completions.create(model="cats", prompt="the ", max_tokens=60, logit_bias={str(space): -100}, seed=1)
    assert " " not in found.choices[0].text
    assert " " in client.completions.create(model="cats", prompt="the ", max_tokens=60, seed=1).choices[0].text
    only = client.completions.create(model="cats", prompt="the ", max_tokens=5, logit_bias={str(a): 100}, seed=1)
    assert only.choices[0].text == "aaaaa"


def test_texts_that_end() -> None:
    """A model of texts apart ends them; the end is drawn, and is no part of the text."""
    lm = LanguageModel(units=24, seed=2)
    recipe: dict[str, Any] = {"epochs": 30, "batch_size": 4, "window": 8, "learning_rate": 1e-2}
    lm.fit(["anna", "otto", "bob"] * 60, validation_split=0, verbose=False, **recipe)
    with running(lm) as url, openai.OpenAI(base_url=f"{url}/v1", api_key="none") as client:
        found = client.completions.create(model="cats", prompt="", temperature=0.3, n=20, seed=1, logprobs=0)
        expected = lm.generate("", 16, temperature=0.3, seed=1, samples=20)
        assert [choice.text for choice in found.choices] == expected
        assert {choice.finish_reason for choice in found.choices} == {"stop"}
        assert found.usage.completion_tokens == sum(len(text) + 1 for text in expected)
        assert all("".join(choice.logprobs.tokens) == choice.text for choice in found.choices)


def test_characters_of_several_bytes() -> None:
    """Tokens that are bytes: text comes out whole, whatever the pieces."""
    lm = LanguageModel(units=24, tokenizer=ByteTokenizer(), seed=1)
    lm.fit(
        ["žluťoučký kůň úpěl ďábelské ódy "] * 40, epochs=15, window=16, batch_size=4, learning_rate=1e-2, verbose=False
    )
    with running(lm) as url, openai.OpenAI(base_url=f"{url}/v1", api_key="none") as client:
        whole = client.completions.create(model="cats", prompt="kůň", max_tokens=61, seed=1, logprobs=2).choices[0]
        assert whole.text == lm.generate("kůň", 61, seed=1)
        assert "".join(whole.logprobs.tokens) in (whole.text, whole.text.removesuffix("\ufffd"))
        stream = client.completions.create(model="cats", prompt="kůň", max_tokens=61, seed=1, stream=True)
        assert "".join(choice.text for event in stream for choice in event.choices) == whole.text


def test_models(client: openai.OpenAI) -> None:
    (card,) = client.models.list().data
    assert (card.id, card.object, card.owned_by) == ("cats", "model", "recurlm")
    assert client.models.retrieve("cats").id == "cats"
    with pytest.raises(openai.NotFoundError, match="there is no model 'dogs': this server has 'cats'"):
        client.models.retrieve("dogs")
    with pytest.raises(openai.NotFoundError, match="there is no model 'dogs'"):
        client.completions.create(model="dogs", prompt="the")
