"""`anydraft serve`: an OpenAI-compatible server, and a page with a chat at its address."""

from __future__ import annotations

import argparse
import contextlib
import logging
import math
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from anydraft import SamplingParams
from anydraft.cli.session import add_session_options, make_session
from anydraft.cli.terminal import say
from anydraft.errors import InputError


def add(commands: Any) -> None:
    """Add the subcommand to a parser's subparsers."""
    parser = commands.add_parser(
        "serve",
        help="an OpenAI-compatible server",
        description="Serves one target, with a drafter or without: /v1/completions, "
        "/v1/chat/completions, /v1/models, /health, /metrics, and a page with a chat at /.",
    )
    option = parser.add_argument
    option("--target", required=True, metavar="MODEL", help="GGUF file, folder or name")
    option("--drafter", default="none", metavar="MODEL", help="file, folder, name, lookup, or none")
    add_session_options(parser, draft_length="auto")
    option("--host", default="127.0.0.1", help="default: this machine alone; 0.0.0.0: all may ask")
    option("--port", type=int, default=8000, help="0: any that is free")
    option("--name", metavar="NAME", help="what clients call the model (default: the file's name)")
    option(
        "--api-key",
        action="append",
        default=[],
        metavar="KEY",
        help="clients must send one of these; also ANYDRAFT_API_KEY, which other users of the "
        "machine do not see",
    )
    option("--cors-origin", action="append", default=[], metavar="ORIGIN", help="default: none")
    option(
        "--allowed-host",
        action="append",
        default=[],
        metavar="NAME",
        help="a name that requests may be for, say, a proxy's (default: this machine's own; where "
        "--host is not of this machine alone: any)",
    )
    option("--max-active", type=int, default=16, metavar="N", help="texts decoded at a time")
    option("--max-queue", type=int, default=128, metavar="N", help="further requests get 429")
    option(
        "--cache-memory",
        type=float,
        metavar="GIB",
        help="of the models' caches (default: half of what is free)",
    )
    option("--max-tokens", type=int, default=1024, metavar="N", help="of a chat that names none")
    option("--max-body", type=float, default=2.0, metavar="MIB", help="longer requests get 413")
    for name, default, text in (
        ("request", 600, "for a request, its wait included"),
        ("queue", 60, "of wait for a place"),
        ("read", 10, "for a request to come in"),
        ("write", 30, "in which a reader takes nothing"),
        ("drain", 30, "for what goes on at SIGTERM"),
    ):
        option(f"--{name}-timeout", type=float, default=default, metavar="SECONDS", help=text)
    option(
        "--tool-format",
        choices=("auto", "hermes", "llama3", "mistral", "none"),
        default="auto",
        help="how the model spells calls of tools; auto: by its chat template",
    )
    option("--log-prompts", action="store_true", help="prompts and texts go to the log")
    option("--quiet", action="store_true", help="no line for each request")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Serve until SIGTERM or Ctrl-C."""
    from anydraft.serve import ServerOptions, create_app
    from anydraft.serve import run as run_app

    options = ServerOptions(
        name=_short(args.target) if args.name is None else args.name,
        drafter_name=_short(args.drafter),
        api_keys=_keys(args.api_key),
        cors_origins=tuple(args.cors_origin),
        allowed_hosts=tuple(args.allowed_host),
        max_active=args.max_active,
        max_queue=args.max_queue,
        cache_bytes=None
        if args.cache_memory is None
        else _bytes("--cache-memory", args.cache_memory, 2**30),
        default_max_tokens=args.max_tokens,
        max_body_bytes=_bytes("--max-body", args.max_body, 2**20),
        request_timeout=args.request_timeout,
        queue_timeout=args.queue_timeout,
        read_timeout=args.read_timeout,
        write_timeout=args.write_timeout,
        drain_timeout=args.drain_timeout,
        tool_format=args.tool_format,
        log_prompts=args.log_prompts,
    )
    if not 0 <= args.port < 1 << 16:
        raise InputError(f"[serve] expected --port in [0, 65536), got {args.port}")

    def ready(address: str) -> None:
        say(f"serving {options.name} at {address}: the API at /v1, a chat at /")

    with _log_to_stderr(quiet=args.quiet):
        app = create_app(make_session(args, SamplingParams()), options)
        if args.host not in ("127.0.0.1", "localhost", "::1") and not options.api_keys:
            say("anyone who reaches this address may ask: set an --api-key")
        run_app(app, host=args.host, port=args.port, ready=ready)
    return 0


def _short(name: str) -> str:
    return Path(name).stem if name.endswith(".gguf") else Path(name).name or name


def _bytes(option: str, count: float, unit: int) -> int:
    if not 0 < count < math.inf:
        raise InputError(f"[serve] expected {option} as a number > 0, got {count}")
    return int(count * unit)


def _keys(given: list[str]) -> tuple[str, ...]:
    own = os.environ.get("ANYDRAFT_API_KEY")
    return (*given, *([own] if own else []))


@contextlib.contextmanager
def _log_to_stderr(*, quiet: bool) -> Iterator[None]:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    logs = [logging.getLogger(name) for name in ("anydraft.serve", "uvicorn")]
    before = [(log.handlers, log.propagate, log.level) for log in logs]
    for log in logs:
        log.handlers, log.propagate = [handler], False
        log.setLevel(logging.WARNING if quiet or log.name == "uvicorn" else logging.INFO)
    try:
        yield
    finally:
        for log, (handlers, propagate, level) in zip(logs, before, strict=True):
            log.handlers, log.propagate = handlers, propagate
            log.setLevel(level)
