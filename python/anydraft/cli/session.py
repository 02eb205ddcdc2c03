"""A session as the command line asks for it, for every subcommand that decodes."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from anydraft import SamplingParams, SpeculativeSession
from anydraft.bridges import NAMES
from anydraft.cli.loading import add_model_options, load_drafter, load_target


def add_session_options(option: Callable[..., Any], *, draft_length: Any = 4) -> None:
    """Add what `make_session` reads, beside --target and --drafter."""
    option(
        "--draft-length",
        type=length_or_auto,
        default=draft_length,
        metavar="N",
        help="most tokens proposed a round; auto: by the text's own past (default: "
        f"{draft_length})",
    )
    option(
        "--draft-confidence",
        type=lambda text: text if text == "auto" else float(text),
        default="auto",
        metavar="P",
        help="a draft goes no further where the drafter is less sure of it; 0: all of its length "
        "(default: 0.3 at a fixed length)",
    )
    option("--bridge", choices=NAMES, default="auto")
    add_model_options(option)


def add_sampling_options(option: Callable[..., Any], *, temperature: float) -> None:
    """Add what `sampling_of` reads."""
    option(
        "--temperature", type=float, default=temperature, help="0: greedy (default: %(default)s)"
    )
    option("--top-k", type=int, default=0, help="0 (the default): all")
    option("--top-p", type=float, default=1.0)
    option("--min-p", type=float, default=0.0)
    option("--seed", type=int, help="the same seed gives the same text (default: a new one)")


def sampling_of(args: argparse.Namespace) -> SamplingParams:
    return SamplingParams(args.temperature, args.top_k, args.top_p, args.min_p, args.seed)


def make_session(args: argparse.Namespace, sampling: SamplingParams) -> SpeculativeSession:
    """Loads the models of --target and --drafter."""
    return SpeculativeSession(
        load_target(args),
        load_drafter(args),
        bridge=args.bridge,
        draft_length=args.draft_length,
        draft_confidence=args.draft_confidence,
        sampling=sampling,
    )


def length_or_auto(text: str) -> Any:
    return text if text == "auto" else int(text)
