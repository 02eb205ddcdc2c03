"""Models by folder or name, with a line of progress and without transformers' own talk."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from typing import Any

from anydraft.cli.terminal import say
from anydraft.errors import InputError


def load(role: str, name: str, *, pack: bool | str | None) -> Any:
    """A model as `anydraft.hf.load` gives it; says what it loads and how long it took."""
    _be_quiet()
    from anydraft import hf

    say(f"loading {role} {name} ...", end="")
    started = time.perf_counter()
    try:
        model = hf.load(name, pack=pack)
    except BaseException:
        say("")
        raise
    say(f" {time.perf_counter() - started:.1f} s")
    return model


def add_pack(option: Callable[..., Any]) -> None:
    """Add --pack to a parser of a target and a drafter."""
    option(
        "--pack",
        nargs="?",
        const="exact",
        choices=("exact", "int4", "none"),
        help="pack the linear layers (CPU; default: where it pays); int4: the drafter's with "
        "weights of 4 bits",
    )


def load_target(name: str, pack: str | None) -> Any:
    """As `load`; pack: what `--pack` said."""
    return load("target", name, pack=None if pack is None else pack != "none")


def load_drafter(name: str, pack: str | None) -> Any:
    """As `load`; pack: what `--pack` said."""
    exact = None if pack is None else pack != "none"
    return load("drafter", name, pack="int4" if pack == "int4" else exact)


def set_threads(threads: int | None) -> None:
    """Threads of torch's products; None: torch's own choice."""
    if threads is None:
        return
    if threads < 1:
        raise InputError(f"[cli] expected --threads >= 1, got {threads}")
    import torch

    torch.set_num_threads(threads)


def _be_quiet() -> None:
    try:
        from transformers.utils import logging
    except ImportError as error:
        raise ImportError(
            f"models need transformers: pip install 'anydraft[hf]' ({error})"
        ) from error
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    warnings.filterwarnings("ignore", module="transformers")
