"""A server from its start to its end."""

from __future__ import annotations

import ipaddress
import os
import socket
from collections.abc import Callable

import uvicorn

from ..language_model import LanguageModel
from .app import LOOPBACK, make_app
from .limits import Limits

_GRACE_SECONDS = 10  # for requests in flight when the server is told to end
_MOST_CONNECTIONS = 2048


def is_local(host: str) -> bool:
    """Whether nobody but this machine reaches what listens there."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def serve(
    lm: LanguageModel,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    name: str = "recurlm",
    limits: Limits | None = None,
    ready: Callable[[str], None] = lambda url: None,
) -> None:
    """Serve ``lm`` until SIGINT or SIGTERM; what is in flight then has ten seconds to end, and ends as it is.

    Args:
        host: the address to listen at; any but one of this machine's own lets others in.
        port: 0 takes one that is free.
        ready: called with the URL before the first request.

    Raises:
        OSError: the address cannot be listened at.
    """
    with _listen(host, port) as listening:
        bound = listening.getsockname()[1]
        app = make_app(lm, name, limits, (*LOOPBACK, host, f"[{host}]") if is_local(host) else ("*",))
        config = uvicorn.Config(
            app,
            log_level="warning",
            access_log=False,
            server_header=False,
            # httptools, in C, saves 0.1 ms a request. As uvicorn uses it heads and pipelines have no bounds, a client
            # that has gone is not noticed behind another, and a body that comes with Upgrade is read as a request.
            http="h11",
            ws="none",
            limit_concurrency=_MOST_CONNECTIONS,
            timeout_graceful_shutdown=2 * _GRACE_SECONDS,  # never: all has ended by then
        )
        ready(f"http://{f'[{host}]' if ':' in host else host}:{bound}")
        _Server(config).run(sockets=[listening])


class _Server(uvicorn.Server):
    """Ends what is in flight in good order before connections are closed."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self.config.app.state.service.end(_GRACE_SECONDS)  # type: ignore[union-attr]
        await super().shutdown(sockets)


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listening = socket.create_server((host, port), family=family, backlog=1024)
    except OSError as error:
        if error.errno is None:
            raise
        raise OSError(
            error.errno, os.strerror(error.errno) if error.errno > 0 else error.strerror, f"{host}:{port}"
        ) from None
    # Accepted sockets inherit it. Without, the end of an answer waits for the 40 ms of the client's delayed ACK.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening
