"""Which names requests may be addressed to."""

from __future__ import annotations

import ipaddress

from starlette.types import ASGIApp, Receive, Scope, Send

from anydraft.serve.errors import ApiError

_LOCAL = ("localhost", "127.0.0.1", "::1")


class KnownHosts:
    """An application that refuses what is addressed to another name.

    A web page whose own name was made to lead to this machine (DNS rebinding) is of the server's
    origin to its browser, whatever CORS says; but its requests still carry that name.
    """

    def __init__(self, app: ASGIApp, names: frozenset[str]) -> None:
        self._app, self._names = app, names

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Of ASGI."""
        given = [value for name, value in scope.get("headers", ()) if name == b"host"]
        names = [_name(value.decode("latin-1")) for value in given]
        wrong = next((name for name in names if name not in self._names), None)
        if scope["type"] != "http" or wrong is None:
            await self._app(scope, receive, send)
            return
        told = f"expected a request for {min(self._names)}, got one for {wrong[:100]!r}: see "
        body = ApiError(403, told + "--allowed-host", code="host_not_allowed").encoded()
        headers = [(b"content-type", b"application/json"), (b"connection", b"close")]
        headers.append((b"content-length", str(len(body)).encode()))
        await send({"type": "http.response.start", "status": 403, "headers": headers})
        await send({"type": "http.response.body", "body": body})


def known_hosts(bound: str, more: tuple[str, ...]) -> frozenset[str] | None:
    """The names of a server at this address; None: any."""
    if not more and not is_loopback(bound):
        return None
    return frozenset(name.lower().strip("[]") for name in (*_LOCAL, bound, *more))


def is_loopback(host: str) -> bool:
    """Whether an address is this machine's alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _name(host: str) -> str:
    """Of a header: without the port, and without the brackets of IPv6."""
    host = host.strip().lower()
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0].rstrip(".")
