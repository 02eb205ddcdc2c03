"""A session as the command line asks for it, for every subcommand that decodes."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from anydraft import SamplingParams, SpeculativeSession
from anydraft.bridges import NAMES
from anydraft.cli.loading import add_model_options, load_drafter, load_target
from anydraft.errors import InputError

_LONGEST = 1 << 16  # draft length that the engine takes


def add_session_options(parser: argparse.ArgumentParser, *, draft_length: Any = 4) -> None:
    """Add what `make_session` reads, beside --target and --drafter.

    draft_length: where none is given.
    """
    option = parser.add_argument
    parser.set_defaults(usual_draft_length=draft_length)
    option(
        "--draft-length",
        type=length_or_auto,
        metavar="N",
        help="most tokens proposed a round; auto: by the text's own past (default: "
        f"{draft_length})",
    )
    option(
        "--draft-confidence",
        type=confidence_or_auto,
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
    """Loads the models of --target and --drafter.

    Raises:
        InputError: options that cannot be, before anything is loaded.
    """
    _check(args)
    length, confidence = args.draft_length, args.draft_confidence
    return SpeculativeSession(
        load_target(args),
        load_drafter(args),
        bridge=args.bridge,
        draft_length=args.usual_draft_length if length is None else length,
        draft_confidence="auto" if confidence is None else confidence,
        sampling=sampling,
    )


def _check(args: argparse.Namespace) -> None:
    length, confidence = args.draft_length, args.draft_confidence
    if args.drafter == "none" and length is not None:
        raise InputError("[cli] expected a drafter with --draft-length, got --drafter none")
    if args.drafter in ("none", "lookup") and confidence is not None:
        raise InputError(
            "[cli] expected a model as the drafter with --draft-confidence, got --drafter "
            f"{args.drafter}"
        )
    if isinstance(length, int) and not 0 <= length <= _LONGEST:
        raise InputError(f"[cli] expected --draft-length in [0, {_LONGEST}], got {length}")
    if isinstance(confidence, float) and not 0 <= confidence <= 1:
        raise InputError(f"[cli] expected --draft-confidence in [0, 1], got {confidence}")


def length_or_auto(text: str) -> Any:
    return _or_auto(text, int, "a whole number")


def confidence_or_auto(text: str) -> Any:
    return _or_auto(text, float, "a number")


def _or_auto(text: str, kind: type, named: str) -> Any:
    try:
        return text if text == "auto" else kind(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected {named} or auto, got {text!r}") from None
