"""Models by file, folder or name, with a line of progress and without the libraries' own talk."""

from __future__ import annotations

import argparse
import logging
import os
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

from anydraft import _core
from anydraft.cli.terminal import say
from anydraft.errors import InputError
from anydraft.loading import describe, load_model


def load(role: str, name: str, **options: Any) -> Any:
    """A model as `load_model` gives it; says what it loads, how long it took, and what it is."""
    _be_quiet()
    say(f"loading {role} {name} ...", end="")
    started = time.perf_counter()
    if "pack" in options:  # what transformers' backend alone has
        options.setdefault("backend", "hf")
    try:
        model = load_model(name, **options)
    except BaseException:
        say("")
        raise
    say(f" {time.perf_counter() - started:.1f} s: {describe(model)}")
    return model


def add_model_options(option: Callable[..., Any], *, backend: str = "auto") -> None:
    """Add what `load_target` and `load_drafter` read to a parser of a target and a drafter."""
    option(
        "--backend",
        choices=("auto", "native", "hf"),
        default=backend,
        help="native: this package's decoder (CPU; GGUF files, safetensors folders); hf: "
        f"transformers; auto: native where it knows the model (default: {backend})",
    )
    option("--weights", metavar="TYPE", help="of a native target: float32, bfloat16, int8, int4")
    option("--drafter-weights", metavar="TYPE", help="of a native drafter")
    option(
        "--pack",
        nargs="?",
        const="exact",
        choices=("exact", "none"),
        help="pack the linear layers (hf on a CPU; default: where it pays)",
    )
    option("--threads", type=int, metavar="N", help="of the models")


def load_target(args: argparse.Namespace) -> Any:
    """The model of --target.

    Raises:
        InputError: options that cannot be together, of the drafter too: nothing is loaded then.
    """
    _check(args)
    return _load("target", args.target, args, args.weights)


def load_drafter(args: argparse.Namespace) -> Any:
    """The model of --drafter; "lookup" and None ("none") as they are."""
    if args.drafter in ("none", "lookup"):
        return None if args.drafter == "none" else "lookup"
    return _load("drafter", args.drafter, args, args.drafter_weights)


def _load(role: str, name: str, args: argparse.Namespace, weights: str | None) -> Any:
    options: dict[str, Any] = {} if args.pack is None else {"pack": args.pack != "none"}
    if args.threads is not None:
        _core.set_threads(args.threads)
    backend = "hf" if options else args.backend
    if weights:
        options = {"weights": weights}
    model = load(role, name, backend=backend, **options)
    if args.threads is not None and "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(args.threads)
    return model


def _check(args: argparse.Namespace) -> None:
    given = [("--weights", args.weights), ("--drafter-weights", args.drafter_weights)]
    for name, weights in given:
        if args.pack is not None and (args.backend == "native" or weights):
            raise InputError("[cli] expected --pack with --backend hf, got it for a native model")
        if weights and args.backend == "hf":
            raise InputError(f"[cli] expected {name} for a native model, got --backend hf")
    if args.drafter_weights and args.drafter in ("none", "lookup"):
        raise InputError(
            f"[cli] expected a model as the drafter with --drafter-weights, got {args.drafter}"
        )
    if args.threads is not None:
        check_threads(args.threads)


def check_threads(count: int) -> None:
    """Raises:
    InputError: none, or more than the core takes.
    """
    if not 1 <= count <= _core.MOST_THREADS:
        raise InputError(f"[cli] expected --threads in [1, {_core.MOST_THREADS}], got {count}")


class _Said(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        say(record.getMessage())


def _be_quiet() -> None:
    log = logging.getLogger("anydraft")
    if not log.handlers:  # row costs that had to be measured are told
        log.addHandler(_Said())
    warnings.filterwarnings("ignore", module="transformers")
    for name, value in (("TRANSFORMERS_VERBOSITY", "error"), ("HF_HUB_DISABLE_PROGRESS_BARS", "1")):
        os.environ.setdefault(name, value)  # read when they are imported
    if "transformers" in sys.modules:
        sys.modules["transformers"].utils.logging.set_verbosity_error()
        sys.modules["transformers"].utils.logging.disable_progress_bar()
