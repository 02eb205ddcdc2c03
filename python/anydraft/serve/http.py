"""Bodies, keys, and who is still there."""

from __future__ import annotations

import asyncio
import hmac

from starlette.requests import ClientDisconnect, Request
from starlette.types import Receive

from anydraft.serve.errors import ApiError
from anydraft.serve.options import ServerOptions


def check_key(request: Request, options: ServerOptions) -> None:
    """Raises:
    ApiError: 401, no key or a wrong one.
    """
    if not options.api_keys:
        return
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    given = key.strip().encode("latin-1") if scheme.lower() == "bearer" else b""  # as it came
    # All are compared, and each in constant time: the time tells nothing of them.
    matches = [hmac.compare_digest(given, known.encode()) for known in options.api_keys]
    if not any(matches):
        raise ApiError(
            401,
            "a valid API key is needed: Authorization: Bearer KEY",
            code="invalid_api_key",
            headers={"www-authenticate": "Bearer"},
        )


async def read_body(request: Request, options: ServerOptions) -> bytes:
    """Raises:
    ApiError: 415, no JSON; 413, too long; 408, too slow.
    """
    # A page of another origin can send a form or plain text unasked, but not JSON.
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise ApiError(415, f"expected content-type application/json, got {kind or 'none'}")
    close = {"connection": "close"}  # the rest of the body is not read
    try:
        return await asyncio.wait_for(_body(request, options), options.read_timeout)
    except asyncio.TimeoutError:
        told = f"the body did not come within {options.read_timeout:g} seconds"
        raise ApiError(408, told, headers=close) from None
    except ClientDisconnect:
        raise ApiError(400, "the body ended early", headers=close) from None


async def _body(request: Request, options: ServerOptions) -> bytes:
    most = options.max_body_bytes
    too_long = ApiError(
        413, f"expected a body of at most {most} bytes", headers={"connection": "close"}
    )
    told = request.headers.get("content-length", "")
    if told.isascii() and told.isdigit() and int(told[:20]) > most:
        raise too_long
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > most:
            raise too_long
    return bytes(body)


async def until_gone(receive: Receive) -> None:
    """Returns when the client has gone; its body must have been read."""
    while (await receive())["type"] != "http.disconnect":
        pass
