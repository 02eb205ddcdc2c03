"""The process: uvicorn, its limits, and how it ends."""

from __future__ import annotations

import logging
import signal
import sys
import traceback
from collections.abc import Callable
from typing import Any

import uvicorn
from fastapi import FastAPI

from anydraft.serve.answer import Serving
from anydraft.serve.connection import protocol_class
from anydraft.serve.hosts import KnownHosts, known_hosts

_SWITCH = 0.0005  # seconds: the loop waits for the engine's thread no longer than this


class Server(uvicorn.Server):
    """Tells when it listens, and that it goes down."""

    def __init__(
        self, config: uvicorn.Config, serving: Serving, ready: Callable[[str], None]
    ) -> None:
        super().__init__(config)
        self._serving, self._ready = serving, ready

    async def startup(self, sockets: Any = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._ready(_address(self.servers))

    def handle_exit(self, sig: int, frame: Any) -> None:
        self._serving.admission.draining = True
        super().handle_exit(sig, frame)


def make_server(
    app: FastAPI,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    ready: Callable[[str], None] = lambda address: None,
) -> Server:
    """A server with the limits of the app's options; arguments as of `run`."""
    serving: Serving = app.state.serving
    options = serving.options
    names = known_hosts(host, options.allowed_hosts)
    config = uvicorn.Config(
        app if names is None else KnownHosts(app, names),
        host=host,
        port=port,
        http=protocol_class(options.read_timeout, options.write_timeout),
        ws="none",
        access_log=False,  # our own line says what was asked for, and nothing of a prompt
        log_config=None,
        server_header=False,
        proxy_headers=False,
        backlog=512,
        timeout_keep_alive=max(int(options.read_timeout), 1),
        timeout_graceful_shutdown=max(int(options.drain_timeout), 1),
    )
    errors = logging.getLogger("uvicorn.error")
    errors.setLevel(logging.WARNING)
    errors.filters = [_WithoutMessages()] if not options.log_prompts else []
    return Server(config, serving, ready)


def run(app: FastAPI, **where: Any) -> None:
    """Serves until SIGTERM or SIGINT; then what goes on may end within `drain_timeout`.

    Args:
        where: host ("127.0.0.1"), port (8000; 0: any that is free); ready, told the address once
            the server listens.

    Raises:
        SystemExit: the address cannot be had; uvicorn has said why.
    """
    sys.setswitchinterval(_SWITCH)
    # uvicorn raises the signal again once it has drained: that is then the end, and a good one.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    make_server(app, **where).run()


class _WithoutMessages(logging.Filter):
    """An exception's message may have something of a prompt: its kind and place are enough."""

    def filter(self, record: logging.LogRecord) -> bool:
        if record.exc_info and record.exc_info[1] is not None:
            error = record.exc_info[1]
            frames = "".join(traceback.format_tb(error.__traceback__))
            record.msg, record.args = f"{record.getMessage()}{type(error).__name__}\n{frames}", ()
            record.exc_info = record.exc_text = None
        return True


def _address(servers: list[Any]) -> str:
    sockets = [sock for server in servers for sock in server.sockets]
    host, port = sockets[0].getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
