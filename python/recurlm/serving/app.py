"""The server's routes."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from importlib.resources import files
from typing import Any, TypeVar

import anyio.to_thread
import numpy as np
from fastapi import FastAPI, Request
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.responses import HTMLResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from ..language_model import LanguageModel
from ..language_model.scoring import log_probs
from ..text.tokenizer import encode_named
from ..typing import Ids
from .completion import Completion
from .engine import BusyError, Engine
from .http import BodyLimit, Counted, JSONRoute, PlainJSON, add_error_handlers, describe_errors, to_json
from .limits import Limits
from .metrics import Metrics
from .protocol import CompletionRequest, RequestError, ScoreRequest

LOOPBACK = ("localhost", "127.0.0.1", "::1", "[::1]")
_EVENT_SECONDS = 0.02  # between two events of a stream

T = TypeVar("T")


class Service:
    """What the routes do.

    Args:
        name: of the model, as requests call it.
        metrics: counts.
    """

    def __init__(self, lm: LanguageModel, name: str, limits: Limits, metrics: Metrics):
        self.name, self._lm, self._limits, self.metrics = name, lm, limits, metrics
        self._created = int(time.time())
        self._engine: Engine | None = None
        self._bell = _Bell()
        self._scoring = anyio.CapacityLimiter(1)  # one at a time: each uses all cores

    @asynccontextmanager
    async def running(self, _: FastAPI) -> AsyncIterator[None]:
        self._engine = Engine(self._lm, self._limits, self.metrics)
        try:
            yield
        finally:
            await asyncio.to_thread(self._engine.close)

    def end(self, seconds: float) -> None:
        """Take no more requests; texts that are not whole after so many seconds end as they are."""
        if self._engine is not None:
            self._engine.end(seconds)

    @property
    def model_card(self) -> dict[str, Any]:
        return {"id": self.name, "object": "model", "created": self._created, "owned_by": "recurlm"}

    def check_alive(self) -> None:
        if self._engine is None or not self._engine.alive:
            raise RequestError("the server does not draw any more", status=503)

    def check_name(self, name: str | None) -> None:
        if name is not None and name != self.name:
            message = f"there is no model {name!r}: this server has {self.name!r}"
            raise RequestError(message, status=404, param="model", code="model_not_found")

    async def complete(self, body: CompletionRequest, request: Request) -> Response:
        self.check_name(body.model)
        assert self._engine is not None
        changed = asyncio.Event()
        notify = partial(self._bell.ring, asyncio.get_running_loop(), changed)
        completion = await _in_thread_if(body.is_long, partial(Completion, body, self._engine, self.name, notify))
        try:
            self._engine.submit(*completion.jobs)
        except BusyError as error:
            raise RequestError(str(error), status=429) from None
        try:
            if body.echo and body.logprobs is not None:
                await self._in_turn(completion.score_prompts)
            self.metrics.prompt_tokens.inc(completion.usage()["prompt_tokens"])
            if body.stream:
                return _EventStream(completion, changed)
            await _until(completion, changed, request)
        except BaseException:
            completion.cancel()
            raise
        completion.cancel()
        if completion.error is not None:
            raise RequestError(str(completion.error), status=500)
        return await _in_thread_if(completion.is_long, lambda: PlainJSON(completion.response()))

    async def score(self, body: ScoreRequest) -> dict[str, Any]:
        self.check_name(body.model)
        return await self._in_turn(partial(self._score, body))

    async def _in_turn(self, work: Callable[[], T]) -> T:
        """Do what uses all cores by itself, after others that do."""
        if self._scoring.statistics().tasks_waiting >= self._limits.waiting:
            raise RequestError("too many requests are waiting: try again later", status=429)
        return await anyio.to_thread.run_sync(work, limiter=self._scoring)

    def _score(self, body: ScoreRequest) -> dict[str, Any]:
        tokenizer = self._lm.tokenizer
        end = np.array([tokenizer.end_id] if body.end else [], np.int32)
        try:
            encoded: list[Ids] = [
                np.append(encode_named(tokenizer, text, f"texts[{i}]"), end) for i, text in enumerate(body.texts)
            ]
        except ValueError as error:
            raise RequestError(str(error), param="texts") from None
        tokens = sum(map(len, encoded))
        if tokens > self._limits.tokens:
            raise RequestError(f"texts must have at most {self._limits.tokens} tokens together", param="texts")
        self.metrics.prompt_tokens.inc(tokens)
        values = log_probs(self._lm.weights.packed(), encoded, tokenizer.bos_id)
        sums = [float(row.sum(dtype=np.float64)) for row in values]
        if not np.isfinite(sums).all():
            raise RequestError("the model's output is not finite", status=500)
        data = [
            {"object": "score", "index": i, "log_prob": total, "tokens": len(ids)}
            for i, (total, ids) in enumerate(zip(sums, encoded, strict=True))
        ]
        usage = {"prompt_tokens": tokens, "total_tokens": tokens}
        return {"object": "list", "model": self.name, "data": data, "usage": usage}


def make_app(
    lm: LanguageModel, name: str = "recurlm", limits: Limits | None = None, hosts: Sequence[str] = LOOPBACK
) -> FastAPI:
    """An ASGI application that serves ``lm``.

    Args:
        name: of the model, as requests call it.
        hosts: by which the server may be called, ``"*"`` for any: pages of elsewhere cannot reach one on this machine
            by a name of their own.
    """
    limits, metrics = limits or Limits(), Metrics()
    service = Service(lm, name, limits, metrics)
    # Its pages of documentation would load scripts from the network.
    app = FastAPI(
        title="recurlm", docs_url=None, redoc_url=None, lifespan=service.running, default_response_class=PlainJSON
    )
    add_error_handlers(app)
    describe_errors(app)
    _add_routes(app, service)
    app.add_middleware(BodyLimit, most=limits.body)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=list(hosts), www_redirect=False)
    app.add_middleware(Counted, metrics=metrics, paths=frozenset(_paths(app)))
    app.state.service = service
    return app


def _paths(app: FastAPI) -> Iterator[str]:
    """Those that are counted by name: nobody can make more of them."""
    return (route.path for route in app.routes if isinstance(route, Route))


def _add_routes(app: FastAPI, service: Service) -> None:
    async def completions(body: CompletionRequest, request: Request) -> Response:
        """Continue prompts."""
        return await service.complete(body, request)

    async def score(body: ScoreRequest, _: Request) -> Response:
        """Log-probabilities of texts, in nats."""
        return PlainJSON(await service.score(body))

    for path, endpoint in (("/v1/completions", completions), ("/v1/score", score)):
        app.router.add_api_route(path, endpoint, methods=["POST"], response_model=None, route_class_override=JSONRoute)

    @app.get("/v1/models")
    async def models() -> dict[str, Any]:
        """The model of this server."""
        return {"object": "list", "data": [service.model_card]}

    @app.get("/v1/models/{name:path}")
    async def model(name: str) -> dict[str, Any]:
        """What is known of a model."""
        service.check_name(name)
        return service.model_card

    @app.head("/healthz", include_in_schema=False)
    @app.get("/healthz")
    async def health() -> dict[str, str]:
        """Whether the server is there and draws."""
        service.check_alive()
        return {"status": "ok"}

    @app.head("/metrics", response_class=Response, include_in_schema=False)
    @app.get("/metrics", response_class=Response)
    async def metrics() -> Response:
        """Counts and times, in the format of Prometheus."""
        return Response(service.metrics.page(), media_type="text/plain; version=0.0.4; charset=utf-8")

    @app.head("/", response_class=HTMLResponse, include_in_schema=False)
    @app.get("/", response_class=HTMLResponse, include_in_schema=False)
    async def page() -> str:
        return (files(__package__) / "page.html").read_text(encoding="utf-8")


class _Bell:
    """Sets events from other threads. All that are set until the loop has come to them cost one system call."""

    def __init__(self) -> None:
        self._rung: deque[asyncio.Event] = deque()
        self._called = False

    def ring(self, loop: asyncio.AbstractEventLoop, event: asyncio.Event) -> None:
        self._rung.append(event)
        if not self._called:
            self._called = True
            with suppress(RuntimeError):  # the loop is closed: nobody waits
                loop.call_soon_threadsafe(self._answer)

    def _answer(self) -> None:
        self._called = False  # first: what is rung from here on calls again
        while self._rung:
            self._rung.popleft().set()


class _EventStream(StreamingResponse):
    """The events of a completion, which ends when nobody reads them any more, or never did."""

    def __init__(self, completion: Completion, changed: asyncio.Event):
        super().__init__(_events(completion, changed), media_type="text/event-stream")
        self._completion = completion

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._completion.cancel()


async def _in_thread_if(long: bool, work: Callable[[], T]) -> T:
    """Do it in a thread where it takes time, so that others are not held up; to pass it there takes time too."""
    return await anyio.to_thread.run_sync(work) if long else work()


async def _until(completion: Completion, changed: asyncio.Event, request: Request) -> None:
    """Until the completion is done, or nobody waits for it any more."""
    gone = asyncio.ensure_future(_disconnected(request))
    gone.add_done_callback(lambda _: changed.set())
    try:
        while not completion.done and not gone.done():
            await changed.wait()
            changed.clear()
    finally:
        gone.cancel()


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _events(completion: Completion, changed: asyncio.Event) -> AsyncIterator[bytes]:
    """Server-sent events, what is ready in one every few milliseconds."""
    while True:
        done = completion.done
        if completion.error is not None:
            yield _event(RequestError(str(completion.error), status=500).body())
            return
        if events := b"".join(map(_event, completion.events())):
            yield events
        if done:
            break
        await changed.wait()
        changed.clear()
        await asyncio.sleep(_EVENT_SECONDS)
    if (last := completion.last_event()) is not None:
        yield _event(last)
    yield b"data: [DONE]\n\n"


def _event(content: dict[str, Any]) -> bytes:
    return b"data: " + to_json(content) + b"\n\n"
