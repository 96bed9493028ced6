"""Many at once: each gets what it would get alone; who leaves makes room; too many are told so."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import numpy as np
import pytest

from recurlm import LanguageModel
from recurlm._core import Sampling
from recurlm.serving import Limits
from recurlm.serving.engine import BusyError, Engine, Job
from recurlm.serving.metrics import Metrics
from recurlm.serving.text import Drawn, GrowingText
from recurlm.text.tokenizers import ByteTokenizer

from .conftest import running


def complete(http: httpx.Client, **body: Any) -> httpx.Response:
    return http.post("/v1/completions", json=body)


def metric(http: httpx.Client, name: str) -> float:
    lines = http.get("/metrics").text.splitlines()
    return float(next(line for line in lines if line.startswith(f"{name} ")).split()[1])


def until(condition: Any, seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come to pass"
        time.sleep(0.01)


def test_what_a_request_gets_does_not_depend_on_the_others(http: httpx.Client, lm: LanguageModel) -> None:
    options: list[dict[str, Any]] = [
        {"prompt": prompt, "max_tokens": tokens, "seed": seed, "temperature": temperature, "n": n}
        for seed, (prompt, tokens, temperature, n) in enumerate(
            [
                ("the cat", 90, 0.8, 1),
                ("a dog ", 33, 1.2, 2),
                ("", 70, 0.0, 1),
                ("the ", 1, 1.0, 3),
                ("the cat", 64, 1.0, 1),
            ]
            * 12
        )
    ]
    expected = [
        lm.generate(o["prompt"], o["max_tokens"], seed=o["seed"], temperature=o["temperature"], samples=o["n"])
        for o in options
    ]

    def work(body: dict[str, Any]) -> list[str]:
        return [choice["text"] for choice in complete(http, **body).json()["choices"]]

    with ThreadPoolExecutor(24) as pool:
        assert list(pool.map(work, options)) == expected
    assert metric(http, "recurlm_active_streams") == 0


def test_many_threads_score_and_generate(http: httpx.Client, lm: LanguageModel) -> None:
    texts = ["the cat sat", "a dog ran after the hat", ""]
    expected = lm.score(texts).tolist()

    def work(i: int) -> None:
        if i % 2:
            data = http.post("/v1/score", json={"texts": texts}).json()["data"]
            assert [each["log_prob"] for each in data] == pytest.approx(expected, abs=1e-4)
            assert [each["tokens"] for each in data] == [11, 23, 0]
        else:
            text = complete(http, prompt="the ", seed=i, max_tokens=20).json()["choices"][0]["text"]
            assert text == lm.generate("the ", 20, seed=i)

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(work, range(120)))


def test_a_job_that_cannot_begin_is_no_affair_of_the_others(lm: LanguageModel) -> None:
    engine = Engine(lm, Limits(), Metrics())
    ends = threading.Event()

    def job(prompt: list[int], notify: Any = lambda: None) -> Job:
        text = GrowingText(lm.tokenizer, "", [], 400, False)
        ids = np.array(prompt, np.int32)
        return Job(ids, 1, Sampling(), None, [text], 0, False, notify, time.monotonic() + 60)

    good, bad = job([0, 1], ends.set), job([99])
    engine.submit(good, bad)
    assert ends.wait(30)
    assert isinstance(bad.error, IndexError)
    assert good.error is None
    assert good.texts[0].read() == lm.generate(lm.tokenizer.tokens[1], 400, seed=1)
    engine.close()
    assert not engine.alive
    with pytest.raises(BusyError, match="shutting down"):
        engine.submit(job([0]))


@pytest.mark.parametrize(
    ("stop", "pieces", "text", "count", "reason"),
    [
        ([], [b"the ", b"cat", b" sat"], "the cat s", 9, "length"),
        ([], [b"the c", b"\xc5"], "the c\ufffd", 6, "length"),
        (["cat"], [b"the c", b"at sat"], "the ", 7, "stop"),
        (["\ufffd"], [b"the cat ", b"\xc5"], "the cat ", 9, "stop"),
        (["sit"], [b"the cat s"], "the cat s", 9, "length"),
    ],
    ids=str,
)
def test_a_growing_text(stop: list[str], pieces: list[bytes], text: str, count: int, reason: str) -> None:
    """Of 9 bytes at most; what the last of them leaves open may complete a stop."""
    growing = GrowingText(ByteTokenizer(), "", stop, 9, False)
    for piece in pieces:
        ids = np.frombuffer(piece, np.uint8).astype(np.int32)
        none = np.empty((len(ids), 0), np.int32)
        growing.push(Drawn(ids, np.full(len(ids), -1, np.float32), none, none.astype(np.float32)), False)
    growing.cut()  # where it is not at its end
    assert (growing.read(), growing.count, growing.finish_reason) == (text, count, reason)
    assert growing.log_prob == -count


def test_prompts_are_kept(http: httpx.Client) -> None:
    prompt = "the cat sat on the mat " * 20
    complete(http, prompt=prompt, max_tokens=1)
    before = metric(http, "recurlm_cached_prompt_tokens_total")
    complete(http, prompt=prompt + "the dog", max_tokens=1)
    assert metric(http, "recurlm_cached_prompt_tokens_total") == before + len(prompt)


def test_who_leaves_makes_room(lm: LanguageModel) -> None:
    """A stream that nobody reads any more, and a request whose client has gone, are not drawn any further."""
    with (
        running(lm, Limits(streams=1, tokens=10**9, seconds=600)) as url,
        httpx.Client(base_url=url, timeout=30) as http,
    ):
        body = {"prompt": "the ", "max_tokens": 10**9, "stream": True}
        with http.stream("POST", "/v1/completions", json=body) as response:
            lines = response.iter_lines()  # held: an iterator that is dropped closes the connection
            next(lines)
            until(lambda: metric(http, "recurlm_active_streams") == 1)
        until(lambda: metric(http, "recurlm_active_streams") == 0)
        with pytest.raises(httpx.ReadTimeout):
            http.post("/v1/completions", json=body | {"stream": False}, timeout=0.3)
        until(lambda: metric(http, "recurlm_active_streams") == 0)
        assert complete(http, prompt="the ", max_tokens=2).status_code == 200


def test_too_many_are_told_so(lm: LanguageModel) -> None:
    with running(lm, Limits(streams=1, waiting=1, tokens=10**9)) as url, httpx.Client(base_url=url, timeout=30) as http:
        endless = {"prompt": "the ", "max_tokens": 10**9}
        stop = threading.Event()

        def hold() -> None:
            with http.stream("POST", "/v1/completions", json=endless | {"stream": True}) as response:
                for _ in response.iter_lines():
                    if stop.is_set():
                        return

        holders = [threading.Thread(target=hold) for _ in range(2)]
        holders[0].start()
        until(lambda: metric(http, "recurlm_active_streams") == 1)
        holders[1].start()
        until(lambda: metric(http, "recurlm_waiting_requests") == 1)
        refused = complete(http, prompt="the ")
        assert refused.status_code == 429
        assert refused.json()["error"]["message"] == "too many requests are waiting: try again later"
        stop.set()
        for holder in holders:
            holder.join()


def test_time_is_limited(lm: LanguageModel) -> None:
    with running(lm, Limits(tokens=10**9, seconds=0.5)) as url, httpx.Client(base_url=url, timeout=30) as http:
        choice = complete(http, prompt="the ", max_tokens=10**9, seed=1).json()["choices"][0]
        assert choice["finish_reason"] == "length"
        assert choice["text"] == lm.generate("the ", len(choice["text"]), seed=1)


def test_what_is_in_flight_ends_when_the_server_does(lm: LanguageModel) -> None:
    with ThreadPoolExecutor(1) as pool:
        with running(lm, Limits(tokens=10**9)) as url, httpx.Client(base_url=url, timeout=30) as http:
            answer = pool.submit(
                httpx.post, f"{url}/v1/completions", json={"prompt": "the ", "max_tokens": 3000}, timeout=60
            )
            until(lambda: metric(http, "recurlm_active_streams") == 1 or answer.done())
        assert len(answer.result().json()["choices"][0]["text"]) == 3000


def test_a_model_that_gives_no_numbers(tmp_path_factory: pytest.TempPathFactory, lm: LanguageModel) -> None:
    broken = lm.quantize("bfloat16")
    bias = broken.weights.running().named["projection.bias"]
    assert not isinstance(bias, tuple)
    bias[...] = float("nan")  # type: ignore[index]
    with running(broken) as url, httpx.Client(base_url=url, timeout=30) as http:
        for _ in range(2):
            answer = complete(http, prompt="the ")
            assert answer.status_code == 500
            assert "not finite" in answer.json()["error"]["message"]
        with http.stream("POST", "/v1/completions", json={"prompt": "the ", "stream": True}) as response:
            assert "not finite" in "".join(response.iter_text())
        assert http.post("/v1/score", json={"texts": ["the"]}).status_code == 500
        assert http.get("/healthz").json() == {"status": "ok"}
