"""Requests that are not possible, made from the server's own description and by hand: an error of the client's or an
answer, never one of the server's; and nothing is left behind. RECURLM_ENDURANCE=1 sends 20,000."""

import json
import os
import random
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from recurlm import LanguageModel
from recurlm.serving import Limits

from .conftest import running
from .test_engine import metric, until

REQUESTS = 20_000 if os.environ.get("RECURLM_ENDURANCE") else 600
LIMITS = Limits(streams=16, waiting=16, tokens=300, body=20_000, seconds=20)


@pytest.fixture(scope="module")
def address(lm: LanguageModel) -> Iterator[str]:
    with running(lm, LIMITS) as url:
        yield url


# Values that a schema allows, and values that it does not -------------------------------------------------------------

ODD: list[Any] = [
    None, True, False, 0, -1, 1, 2**31, 2**63, -(2**63), 10**30, 1e308, -1e308, 0.5, 1e-320, "", "the ", "\x00", "Ω",
    "\ud800", "a" * 5000, [], [[]], [None], ["the", 1], [-1], [10**9], [[0, 2**40]], [[[]]], {}, {"a": 1}, {"": None},
    {"0": 1e400}, {"-1": 0}, {"١": 1}, {"9" * 50: 1}, ["\n"] * 5, [""], "NaN",
]  # fmt: skip


def allowed(schema: dict[str, Any], rng: random.Random, definitions: dict[str, Any]) -> Any:
    """A value that ``schema`` describes."""
    if "$ref" in schema:
        return allowed(definitions[schema["$ref"].rsplit("/", 1)[1]], rng, definitions)
    if "anyOf" in schema:
        return allowed(rng.choice(schema["anyOf"]), rng, definitions)
    if "const" in schema:
        return schema["const"]
    kind = schema.get("type")
    if kind == "string":
        return "".join(rng.choices("the cadogsrn \n", k=rng.randrange(12)))
    if kind == "integer":
        low, high = schema.get("minimum", -5), schema.get("maximum", 40)
        return rng.choice([low, min(high, low + 3), high if abs(high) < 2**31 else low])
    if kind == "number":
        low, high = schema.get("minimum", schema.get("exclusiveMinimum", 0)), schema.get("maximum", 3)
        return low + (high - low) * rng.choice([0.0, 1.0, rng.random()])
    if kind == "boolean":
        return rng.random() < 0.5
    if kind == "array":
        return [allowed(schema["items"], rng, definitions) for _ in range(rng.randrange(4))]
    if kind == "object":
        if "properties" in schema:
            return {name: allowed(each, rng, definitions) for name, each in schema["properties"].items()}
        return {str(rng.randrange(40)): allowed(schema["additionalProperties"], rng, definitions)}
    assert kind == "null", schema
    return None


def made(schema: dict[str, Any], rng: random.Random, definitions: dict[str, Any]) -> Any:
    """An object with some of the properties, of which some are odd."""
    properties = schema["properties"]
    chosen = rng.sample(sorted(properties), rng.randrange(len(properties) + 1))
    body = {name: allowed(properties[name], rng, definitions) for name in chosen if name != "model"}
    for _ in range(rng.choice([0, 0, 1, 1, 1, 2])):
        body[rng.choice([*properties, "unknown"])] = rng.choice(ODD)
    return body


def spoiled(body: bytes, rng: random.Random) -> bytes:
    """Bytes that may be no JSON any more, or another."""
    place = rng.randrange(len(body) + 1)
    return rng.choice(
        [
            body[:place],
            body[:place] + bytes([rng.randrange(256)]) + body[place + 1 :],
            body[:place] + body[place:] * 2,
            body + b" " * rng.randrange(30_000),
            b"[" * 10_000,
            b'{"prompt":' * 5000,
            b'{"prompt": "\\ud800"}',
            b'{"temperature": NaN}',
            b'{"temperature": -Infinity}',
            b'{"max_tokens": ' + b"9" * rng.choice([25, 5000]) + b"}",
            b'{"seed": 1e5}',
            b'{"prompt": "the", "prompt": 7}',
            b"\xff\xfe{}",
            b"null",
            b"",
        ]
    )


def requests(http: httpx.Client, rng: random.Random, count: int) -> Iterator[tuple[str, str, dict[str, Any]]]:
    description = http.get("/openapi.json").json()
    definitions = description["components"]["schemas"]
    schemas = {"/v1/completions": definitions["CompletionRequest"], "/v1/score": definitions["ScoreRequest"]}
    for _ in range(count):
        path = rng.choice(["/v1/completions"] * 4 + ["/v1/score"])
        value = rng.choice(ODD) if rng.random() < 0.05 else made(schemas[path], rng, definitions)
        body = json.dumps(value).encode()
        body = spoiled(body, rng) if rng.random() < 0.3 else body
        kind = "application/json" if rng.random() < 0.95 else rng.choice(["text/plain", "", "multipart/form-data"])
        method = "POST" if rng.random() < 0.97 else rng.choice(["GET", "PUT", "DELETE", "OPTIONS", "PATCH"])
        if rng.random() < 0.03:
            path = rng.choice(
                ["/v1", "/v1/models/%00", "/v1/models/../x", "/v1/models/" + "a" * 3000, "//", "/%ff", "/docs"]
            )
        yield method, path, {"content": body, "headers": {"content-type": kind}}


def test_no_request_is_an_error_of_the_server(address: str) -> None:
    rng, statuses = random.Random(1), dict.fromkeys((200, 400, 404, 405, 413), 0)
    with httpx.Client(base_url=address, timeout=60) as http:
        for method, path, options in requests(http, rng, REQUESTS):
            answer = http.request(method, path, **options)
            statuses[answer.status_code] = statuses.get(answer.status_code, 0) + 1
            assert answer.status_code < 500, (method, path, options, answer.text)
            if answer.status_code >= 400:
                error = answer.json()["error"]
                assert error["message"], (method, path, options)
                assert "\n" not in error["message"], error
        assert all(statuses.values()), statuses
        assert set(statuses) <= {200, 400, 404, 405, 413}, statuses
        until(lambda: metric(http, "recurlm_active_streams") == 0)
        assert metric(http, "recurlm_waiting_requests") == 0


def send_raw(address: str, data: bytes, read: int = 0) -> bytes:
    """Send bytes, read a few, and be gone."""
    url = httpx.URL(address)
    with socket.create_connection((url.host, url.port), timeout=20) as connection:
        connection.sendall(data)
        return connection.recv(read) if read else b""


def raw(body: bytes, *headers: bytes, path: bytes = b"/v1/completions") -> bytes:
    lines = [b"POST " + path + b" HTTP/1.1", b"Host: localhost", b"Content-Type: application/json", *headers]
    return b"\r\n".join([*lines, b"", body])


def test_clients_that_vanish(address: str) -> None:
    rng = random.Random(2)
    body = b'{"prompt": "the ", "max_tokens": 300, "stream": true}'
    whole = raw(body, b"Content-Length: %d" % len(body))
    files = len(list(Path("/proc/self/fd").iterdir()))
    for i in range(REQUESTS // 20):
        if i % 3 == 0:
            send_raw(address, whole[: rng.randrange(len(whole))])
        else:
            send_raw(address, whole, read=rng.choice([0, 1, 300]))
    with httpx.Client(base_url=address, timeout=60) as http:
        until(lambda: metric(http, "recurlm_active_streams") == 0 and metric(http, "recurlm_waiting_requests") == 0, 30)
        assert http.post("/v1/completions", json={"prompt": "the ", "max_tokens": 2}).status_code == 200
    until(lambda: len(list(Path("/proc/self/fd").iterdir())) <= files + 2)


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (raw(b"{}", b"Content-Length: 99999999999"), b"413"),
        (raw(b"{}", b"Content-Length: -1"), b"400"),
        (raw(b"zz\r\n{}\r\n0\r\n\r\n", b"Transfer-Encoding: chunked"), b"400"),
        (raw(b"%x\r\n" % 30_000 + b" " * 30_000 + b"\r\n0\r\n\r\n", b"Transfer-Encoding: chunked"), b"413"),
        (b"\x16\x03\x01\x02\x00\x01", b"400"),
        (raw(b"", b"X: " + b"a" * 200_000), b"4"),
        (b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 200_000 + b"\r\n\r\n", b"4"),
        (raw(b"{}", b"Content-Length: 2").replace(b"localhost", b"evil.example"), b"400"),
    ],
    ids=range(8),
)
def test_requests_that_are_no_http(address: str, data: bytes, status: bytes) -> None:
    assert send_raw(address, data, read=100).split(b" ")[1].startswith(status)


def _filler(bytes_: int) -> bytes:
    return b"".join(b"X-%d: %s\r\n" % (i, b"a" * 90) for i in range(bytes_ // 100))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"GET /", b"a" * 200_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n"),
        (b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n", _filler(200_000) + b"\r\n"),
        (raw(b"2\r\n{}\r\n0\r\n", b"Transfer-Encoding: chunked"), _filler(200_000)),
    ],
    ids=["address", "head", "end"],
)
def test_what_is_no_body_has_bounds(address: str, before: bytes, after: bytes) -> None:
    """Where it comes piece by piece, whether or not it ends."""
    url = httpx.URL(address)
    with socket.create_connection((url.host, url.port), timeout=20) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.sendall(before)
        with suppress(OSError):  # the server may have closed it
            for start in range(0, len(after), 5000):
                connection.sendall(after[start : start + 5000])
                time.sleep(0.002)
        with suppress(ConnectionResetError):
            assert b" 400 " in connection.recv(100_000)


def test_a_request_that_would_upgrade_has_its_body(address: str) -> None:
    """Clients of Java offer HTTP/2 so."""
    body = b'{"prompt": "the ", "max_tokens": 2}'
    offer = (b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAEAAEAA")
    assert b" 200 " in send_raw(address, raw(body, *offer, b"Content-Length: %d" % len(body)), read=100)


def test_heads_that_are_long_but_not_too_long(address: str) -> None:
    body = b"".join(b"1\r\n%c\r\n" % byte for byte in b'{"max_tokens": 1' + b" " * 15_000 + b"}") + b"0\r\n\r\n"
    long = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n" + _filler(60_000) + b"\r\n"
    url = httpx.URL(address)
    with socket.create_connection((url.host, url.port), timeout=20) as connection:
        connection.sendall(raw(body, b"Transfer-Encoding: chunked") + 3 * long)
        answers = b""
        while answers.count(b"HTTP/1.1 200 OK") < 4:
            answers += (more := connection.recv(100_000))
            assert more, answers


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (
            {"prompt": "Ω"},
            "prompt: character 'Ω' (U+03A9) at position 0 is not among the 22 characters of the vocabulary",
        ),
        ({"prompt": [99]}, "prompt has an id that is not below the size of the vocabulary, 23"),
        ({"prompt": []}, "prompt must not be an empty list"),
        ({"temperature": 3}, "temperature: input should be less than or equal to 2"),
        ({"temperature": 1e-5}, "temperature must be 0, or from 0.001 to 1000, got 1e-05"),
        ({"max_tokens": 301}, "max_tokens must be at most 300"),
        ({"max_tokens": 200, "n": 2}, "max_tokens must be at most 150 for each of 2 texts"),
        ({"prompt": "a" * 301}, "prompt must have at most 300 tokens"),
        ({"n": 17}, "prompts times n must be at most 16"),
        ({"stop": ["a"] * 5}, "stop: list should have at most 4 items, not 5"),
        ({"suffix": "x"}, "suffix is not supported: these models read from left to right"),
        ({"stream_options": {}}, "stream_options are for a stream"),
        ({"repetition_penalty": 1e-40}, "repetition_penalty: input should be greater than or equal to 0.01"),
        ({"n": 3, "best_of": 2}, "best_of must be at least n"),
        ({"best_of": 2, "stream": True}, "best_of needs whole texts to choose from: leave stream out"),
        ({"prompt": [1.5]}, "prompt: must be a text, a list of texts, ids, or a list of lists of ids"),
        ({"stop": 5}, "stop: must be a text or a list of texts"),
        ({"stop": ""}, "stop must not hold an empty string"),
        ({"logit_bias": {"23": 1}}, "logit_bias must have ids below 23 as its keys"),
        ({"max_token": 3}, "max_token: there is no such option"),
    ],
    ids=str,
)
def test_the_sentence_says_what_is_wrong(address: str, body: dict[str, Any], message: str) -> None:
    answer = httpx.post(f"{address}/v1/completions", json=body)
    assert answer.status_code == 400
    assert answer.json()["error"]["message"] == message


@pytest.mark.parametrize("path", ["/", "/healthz", "/metrics"])
def test_heads_alone(address: str, path: str) -> None:
    answer = httpx.head(f"{address}{path}")
    assert (answer.status_code, answer.content) == (200, b"")


def test_a_body_must_be_an_object(address: str) -> None:
    answer = httpx.post(f"{address}/v1/completions", json=[1])
    assert answer.json()["error"]["message"] == "the request must be a JSON object"


def test_a_body_must_say_that_it_is_json(address: str) -> None:
    """A page of elsewhere can send anything but that, unasked."""
    for kind in ("text/plain", "application/x-www-form-urlencoded"):
        answer = httpx.post(f"{address}/v1/completions", content=b'{"prompt": "a"}', headers={"content-type": kind})
        assert answer.status_code == 400
        assert "Content-Type: application/json" in answer.json()["error"]["message"]


def test_the_description_tells_of_errors_as_they_are(address: str) -> None:
    description = httpx.get(f"{address}/openapi.json").json()
    responses = description["paths"]["/v1/completions"]["post"]["responses"]
    assert set(responses) == {"200", "default"}
