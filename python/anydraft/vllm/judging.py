"""Drafts of a step, judged: no vLLM here."""

from __future__ import annotations

import logging
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from anydraft.drafts import Proposal, Trees
from anydraft.sampling import SamplingParams
from anydraft.verification import VerifyResult, verify

_log = logging.getLogger("anydraft")


@dataclass(frozen=True)
class Judged:
    """A request of a step.

    Attributes:
        drafted: the tokens the target was run on, the first ones of its draft.
        drawn_for: the request whose last draft they were drawn for; None: they are certain.
        sampling: the target's; its seed keys the uniforms.
        position: length of prompt and text.
        skipped: rows behind those of `drafted` that are not looked at: of a drawn draft whose
            distributions are gone. That is lossless, for its tokens have no say in it.
    """

    drafted: list[int]
    drawn_for: Hashable | None
    sampling: SamplingParams
    position: int
    skipped: int = 0


class DrawnDrafts(Protocol):
    """Who knows what drafts were drawn from: a `BatchDrafter`."""

    def verify(
        self,
        ids: Sequence[Hashable],
        lengths: Sequence[int],
        rows: Any,
        sampling: Sequence[SamplingParams],
        *,
        verifier: str,
        positions: Sequence[int],
    ) -> VerifyResult: ...


def judge(
    rows: Any, requests: Sequence[Judged], drafts: DrawnDrafts, verifier: str
) -> list[list[int]]:
    """New tokens of each request: what is kept of its draft, and one more.

    Args:
        rows: float32 [sum of len(drafted) + 1 + skipped, vocab] on the CPU: the target's logits
            behind the text and behind each drafted token, in the requests' order.
        verifier: of drafts that are drawn. Certain ones are matched: such text is that of plain
            seeded decoding.
    """
    first = [0]
    for request in requests:
        first.append(first[-1] + len(request.drafted) + 1 + request.skipped)
    tokens: list[list[int]] = [[] for _ in requests]
    for certain in (True, False):
        chosen = [i for i, one in enumerate(requests) if (one.drawn_for is None) == certain]
        if not chosen:
            continue
        own = [requests[i] for i in chosen]
        part = rows
        if len(chosen) < len(requests) or any(one.skipped for one in own):
            import torch

            part = torch.cat([rows[first[i] : first[i + 1] - requests[i].skipped] for i in chosen])
        kept = _matched(part, own) if certain else _drawn(part, own, drafts, verifier)
        for place, i in enumerate(chosen):
            new = [*requests[i].drafted[: len(kept.path(place))], kept.next_token[place]]
            if (reason := kept.status[place]) is not None:
                new = [_likeliest(rows[first[i]], reason)]
            tokens[i] = new
    return tokens


def _matched(rows: Any, requests: Sequence[Judged]) -> VerifyResult:
    trees = Trees.chains([[0, *request.drafted] for request in requests])
    return verify(
        trees,
        rows,
        proposals=[Proposal("one_hot")] * len(trees.tokens),
        sampling=[request.sampling for request in requests],
        verifier="match",
        requests=[0] * len(requests),  # the seeds tell them apart
        positions=[request.position for request in requests],
        on_error="status",
    )


def _drawn(
    rows: Any, requests: Sequence[Judged], drafts: DrawnDrafts, verifier: str
) -> VerifyResult:
    return drafts.verify(
        [request.drawn_for for request in requests],
        [len(request.drafted) for request in requests],
        rows,
        [request.sampling for request in requests],
        verifier=verifier,
        positions=[request.position for request in requests],
    )


def _likeliest(row: Any, reason: str) -> int:
    """What a service says where the target's row is damaged: it must say something."""
    import torch

    _log.warning("the target's logits are no distribution, the likeliest is taken: %s", reason)
    return int(torch.nan_to_num(row, nan=-torch.inf, posinf=torch.finfo(row.dtype).max).argmax())
