"""Rounds of a peer in the shape of `anydraft.verify`, so that `anydraft.testing.audit` plays them.

A peer judges one chain at a time, from logits: `step(tokens, draft_rows, target_rows)` says how
many of the drafted tokens are kept and which token follows.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import torch

from anydraft import VerifyResult

# (drafted tokens, draft logits [drafted, vocab], target logits [drafted + 1, vocab])
#   -> (kept tokens, next token)
Step = Callable[[list[int], torch.Tensor, torch.Tensor], tuple[int, int]]


@dataclass(frozen=True)
class Rule:
    """A peer's verification.

    Attributes:
        name: what of the package is played.
        verify: with the signature of `anydraft.verify`.
        claim: what its own documentation says: "lossless" or "lossy".
        scheme, width: of the drafts it takes.
    """

    name: str
    verify: Callable[..., VerifyResult]
    claim: str = "lossless"
    scheme: str = "iid"
    width: int = 1


def judged(paths: Sequence[Sequence[int]], following: Sequence[int]) -> VerifyResult:
    """Kept nodes and next tokens, as `verify` returns them."""
    offsets = [0, *itertools.accumulate(len(path) for path in paths)]
    accepted = [node for path in paths for node in path]
    return VerifyResult(accepted, offsets, list(following), [], [False] * len(paths))


def chains(step: Step) -> Callable[..., VerifyResult]:
    """A `verify` that plays each request's chain by `step`."""

    def verify(
        trees: Any, target_logits: Any, *, proposals: Any, draft_logits: Any, **_: Any
    ) -> VerifyResult:
        paths, following = [], []
        for begin, end in itertools.pairwise(trees.offsets):
            rows = [proposals[node].row for node in range(begin, end - 1)]
            tokens = list(trees.tokens[begin + 1 : end])
            kept, token = step(tokens, draft_logits[rows], target_logits[begin:end])
            paths.append(range(1, kept + 1))
            following.append(int(token))
        return judged(paths, following)

    return verify


class Model:
    """A model of transformers' shape whose logits are rows, whatever it is fed: one behind the
    prompt, which is one token long, and one behind each token after it."""

    def __init__(self, rows: torch.Tensor) -> None:
        self.rows = rows

    def __call__(self, ids: torch.Tensor, **_: Any) -> Any:
        return SimpleNamespace(logits=self.rows[None, : ids.shape[1]])


@contextlib.contextmanager
def drafted(module: Any, name: str, tokens: Sequence[int]) -> Iterator[None]:
    """The first draws of a module's sampler `name` are these tokens; those behind them are its own.

    A peer that drafts by itself is made to draft what the audit drew.
    """
    own = getattr(module, name)
    waiting = list(tokens)

    def draw(probabilities: torch.Tensor, *args: Any, **options: Any) -> torch.Tensor:
        drawn = own(probabilities, *args, **options)
        return torch.full_like(drawn, waiting.pop(0)) if waiting else drawn

    setattr(module, name, draw)
    try:
        yield
    finally:
        setattr(module, name, own)
