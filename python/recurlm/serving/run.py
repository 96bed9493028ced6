"""A server from its start to its end."""

from __future__ import annotations

import socket
from collections.abc import Callable

import uvicorn

from ..language_model import LanguageModel
from .app import LOOPBACK, make_app
from .limits import Limits

_GRACE_SECONDS = 10  # for requests in flight when the server is told to end
_MOST_CONNECTIONS = 2048


def serve(
    lm: LanguageModel,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    name: str = "recurlm",
    limits: Limits | None = None,
    ready: Callable[[str], None] = lambda url: None,
) -> None:
    """Serve ``lm`` until SIGINT or SIGTERM; what is in flight then has ten seconds to end.

    Args:
        host: the address to listen at; any but one of this machine's own lets others in.
        port: 0 takes one that is free.
        ready: called with the URL before the first request.

    Raises:
        OSError: the address cannot be listened at.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, port), family=family, backlog=1024) as listening:
        # Accepted sockets inherit it. Without, the end of an answer waits for the 40 ms of the client's delayed ACK.
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        bound = listening.getsockname()[1]
        app = make_app(lm, name, limits, LOOPBACK if host in LOOPBACK else ("*",))
        config = uvicorn.Config(
            app,
            log_level="warning",
            access_log=False,
            server_header=False,
            ws="none",
            limit_concurrency=_MOST_CONNECTIONS,
            timeout_graceful_shutdown=_GRACE_SECONDS,
        )
        ready(f"http://{f'[{host}]' if ':' in host else host}:{bound}")
        uvicorn.Server(config).run(sockets=[listening])
