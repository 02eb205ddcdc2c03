"""The `anydraft` command: a parser, and one file for each subcommand."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from anydraft import Error, __version__
from anydraft.cli import bench, chat, generate, pair, serve, vllm_config, vocab
from anydraft.cli.terminal import harmless, say

# What a user's input can cause, and what is told in one line instead of a traceback.
_EXPECTED = (Error, ValueError, OSError, OverflowError, ImportError)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status.

    0: done; 1: texts that must be identical are not; 2: bad input; 130: Ctrl-C.
    """
    args = _parser().parse_args(argv)
    try:
        status: int = args.run(args)
        return status
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # The reader (`| head`) has gone; Python's own flush at exit must not complain again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except _EXPECTED as error:
        text = harmless(" ".join(str(error).split())) or type(error).__name__
        say(f"anydraft: {text}{_hint(error)}")
        return 2


def _hint(error: Exception) -> str:
    """What to install where a library is missing that the core does without."""
    missing = error.name if isinstance(error, ModuleNotFoundError) else None
    extras = {"numpy": "native", "jinja2": "native", "torch": "hf"}
    extras |= dict.fromkeys(("fastapi", "uvicorn", "prometheus_client", "pydantic"), "serve")
    extra = extras.get(missing or "")
    return f": pip install 'anydraft[{extra}]'" if extra else ""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="anydraft", description="Lossless speculative decoding for any pair of models."
    )
    parser.add_argument("--version", action="version", version=f"anydraft {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    generate.add(commands)
    chat.add(commands)
    serve.add(commands)
    pair.add(commands)
    vocab.add(commands)
    vllm_config.add(commands)
    bench.add(commands)
    return parser
