"""Connections that send half a request, a head without end, or whose other end is no more, are
closed."""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import Any

MOST_HEAD = 64 << 10  # bytes
_TOLD = b"expected a request's head of at most 65536 bytes"
_TOO_LARGE = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-type: text/plain; charset=utf-8\r\n"
    b"content-length: %d\r\nconnection: close\r\n\r\n%s" % (len(_TOLD), _TOLD)
)
_KEEPALIVE = (("TCP_KEEPIDLE", 15), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3))


def protocol_class(read_timeout: float, write_timeout: float) -> type[Any]:
    """uvicorn's protocol with limits on the size of a request's head and the time that it may take,
    and `scope["anydraft.abort"]`, which closes the connection at once."""
    base = _base()

    class Connection(base):  # type: ignore[misc, valid-type]
        _head: asyncio.TimerHandle | None = None

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            _watch(transport.get_extra_info("socket"), write_timeout)
            self._time_head()

        def connection_lost(self, exc: Exception | None) -> None:
            self._stop_head()
            super().connection_lost(exc)

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            cycle = self.cycle
            if cycle is None or cycle.response_complete:
                self._time_head()
            else:
                self._stop_head()
                cycle.scope["anydraft.abort"] = self._abort

        def _abort(self) -> None:
            """With a reset: what the kernel has of the answer is given up too."""
            sock = self.transport.get_extra_info("socket")
            if sock is not None:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.transport.abort()

        def _time_head(self) -> None:
            if self._head is None:
                loop = asyncio.get_running_loop()
                self._head = loop.call_later(read_timeout, self._too_slow)

        def _stop_head(self) -> None:
            if self._head is not None:
                self._head.cancel()
                self._head = None

        def _too_slow(self) -> None:
            self._head = None
            if self.cycle is None or self.cycle.response_complete:
                self.transport.close()

    return Connection


def _base() -> Any:
    try:
        from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
    except ImportError:
        from uvicorn.protocols.http.h11_impl import H11Protocol

        return H11Protocol  # which bounds heads itself
    return _with_bounded_heads(HttpToolsProtocol)


def _with_bounded_heads(base: Any) -> type[Any]:
    """httptools keeps whatever comes until a head is whole, before any key is looked at."""

    class Bounded(base):  # type: ignore[misc]
        _waiting = 0  # bytes that have come since a request or a part of a body began or ended
        _moved = False
        _too_long = False

        def data_received(self, data: bytes) -> None:
            self._moved = False
            super().data_received(data)
            self._waiting = 0 if self._moved else self._waiting + len(data)
            if self._waiting > MOST_HEAD and not self.transport.is_closing():
                self._refuse_head()

        def on_message_begin(self) -> None:
            self._moved = True
            super().on_message_begin()

        def on_body(self, body: bytes) -> None:
            self._moved = True
            super().on_body(body)

        def on_message_complete(self) -> None:
            self._moved = True
            super().on_message_complete()

        def on_headers_complete(self) -> None:
            lines = sum(len(name) + len(value) + 4 for name, value in self.headers)
            if len(self.url) + lines > MOST_HEAD:  # came at once
                self._too_long = True
                raise ValueError("a head that is too long")  # the parser stops
            super().on_headers_complete()

        def send_400_response(self, msg: str) -> None:
            if self._too_long:
                self._refuse_head()
            else:
                super().send_400_response(msg)

        def _refuse_head(self) -> None:
            cycle = self.cycle  # of a request before this one: nothing comes between its answer
            if cycle is None or cycle.response_complete or not cycle.response_started:
                self.transport.write(_TOO_LARGE)
            self.transport.close()

    return Bounded


def _watch(sock: Any, write_timeout: float) -> None:
    """Lets the kernel find out that the other end is no more."""
    if sock is None or sock.family not in (socket.AF_INET, socket.AF_INET6):
        return
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (*_KEEPALIVE, ("TCP_USER_TIMEOUT", int(write_timeout * 1000))):
        if hasattr(socket, name):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
