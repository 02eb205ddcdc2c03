"""Connections that send half a request, or whose other end is no more, are closed."""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import Any

_KEEPALIVE = (("TCP_KEEPIDLE", 15), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3))


def protocol_class(read_timeout: float, write_timeout: float) -> type[Any]:
    """uvicorn's protocol with a limit on the time that the head of a request may take, and
    `scope["anydraft.abort"]`, which closes the connection at once."""
    base = _uvicorns()

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


def _uvicorns() -> Any:
    try:
        from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

        return HttpToolsProtocol
    except ImportError:
        from uvicorn.protocols.http.h11_impl import H11Protocol

        return H11Protocol


def _watch(sock: Any, write_timeout: float) -> None:
    """Lets the kernel find out that the other end is no more."""
    if sock is None or sock.family not in (socket.AF_INET, socket.AF_INET6):
        return
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (*_KEEPALIVE, ("TCP_USER_TIMEOUT", int(write_timeout * 1000))):
        if hasattr(socket, name):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
