"""A server in a thread of this process, and a client."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import openai
import pytest
import uvicorn

from recurlm import LanguageModel
from recurlm.serving import Limits, make_app
from tests.python import samples


@contextmanager
def running(lm: LanguageModel, limits: Limits | None = None) -> Iterator[str]:
    """The URL of a server of ``lm``, which is called "cats"."""
    app = make_app(lm, "cats", limits)
    server = uvicorn.Server(
        uvicorn.Config(app, port=0, http="h11", log_level="warning", ws="none", timeout_graceful_shutdown=5)
    )
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.01)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


@pytest.fixture(scope="session")
def lm(tmp_path_factory: pytest.TempPathFactory) -> LanguageModel:
    return samples.trained(samples.text_file(tmp_path_factory.mktemp("serving")))


@pytest.fixture(scope="session")
def url(lm: LanguageModel) -> Iterator[str]:
    with running(lm) as address:
        yield address


@pytest.fixture
def http(url: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=url, timeout=60) as client:
        yield client


@pytest.fixture
def client(url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as made:
        yield made
