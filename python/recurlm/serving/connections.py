"""A connection of HTTP, by llhttp."""

from __future__ import annotations

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

_MOST_HEAD = 64 * 1024
# A chunk of one byte is framed by five.
_FRAME_BYTES = 8


class Connection(HttpToolsProtocol):
    """Bounds what the parser keeps of a request beside its body: lines of the head, and of the end of a chunked one."""

    _left = _MOST_HEAD

    def data_received(self, data: bytes) -> None:
        self._left -= len(data)  # first: a request that begins in this piece is looked at when its head is whole
        super().data_received(data)
        if self._left < 0 and not self.transport.is_closing():
            self.send_400_response("The head of the request is too long.")

    def on_message_begin(self) -> None:
        self._left = _MOST_HEAD
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        if len(self.url) + sum(len(name) + len(value) for name, value in self.headers) > _MOST_HEAD:
            raise ValueError("the head of the request is too long")  # the parser stops, and the answer is 400
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._left += _FRAME_BYTES * len(body)
        super().on_body(body)
