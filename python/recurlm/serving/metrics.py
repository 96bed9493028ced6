"""What ``/metrics`` tells, in the format of Prometheus."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_STEP_SECONDS = (1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3, 1)
_REQUEST_SECONDS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100)
_STREAMS = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Metrics:
    """Those of one server."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        self.requests = Counter("recurlm_requests", "Requests answered.", ["path", "status"], registry=registry)
        self.seconds = Histogram(
            "recurlm_request_seconds", "From a request to the end of its answer.", ["path"], buckets=_REQUEST_SECONDS,
            registry=registry,
        )  # fmt: skip
        self.prompt_tokens = Counter("recurlm_prompt_tokens", "Tokens of prompts and scored texts.", registry=registry)
        self.tokens = Counter("recurlm_generated_tokens", "Tokens drawn.", registry=registry)
        self.active = Gauge("recurlm_active_streams", "Texts that are being drawn.", registry=registry)
        self.waiting = Gauge("recurlm_waiting_requests", "Prompts that wait for room.", registry=registry)
        self.cached_tokens = Counter(
            "recurlm_cached_prompt_tokens", "Tokens of prompts found in the cache.", registry=registry
        )
        self._step_seconds = Histogram(
            "recurlm_step_seconds", "From a token of each text to its next, once a round: their mean.",
            buckets=_STEP_SECONDS, registry=registry,
        )  # fmt: skip
        self._batch = Histogram("recurlm_batch_streams", "Texts in a round.", buckets=_STREAMS, registry=registry)

    def round(self, streams: int, steps: int, seconds: float, tokens: int) -> None:
        """A round of the engine: ``steps`` of each stream, of which ``tokens`` in all were wanted."""
        self.tokens.inc(tokens)
        self._step_seconds.observe(seconds / steps)
        self._batch.observe(streams)
        self.active.set(streams)

    def page(self) -> bytes:
        return generate_latest(self._registry)
