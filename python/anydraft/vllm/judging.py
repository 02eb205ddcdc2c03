"""Drafts of a step, judged by `anydraft.verify`: no vLLM here."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from anydraft.drafter import Draft
from anydraft.drafts import Proposal, Trees
from anydraft.sampling import SamplingParams
from anydraft.verification import verify

_log = logging.getLogger("anydraft")


@dataclass(frozen=True)
class Judged:
    """A request of a step.

    Attributes:
        drafted: the tokens the target was run on, the first ones of its draft.
        draft: what they were drawn from; None: they are certain.
        sampling: the target's; its seed keys the uniforms.
        position: length of prompt and text.
    """

    drafted: list[int]
    draft: Draft | None
    sampling: SamplingParams
    position: int

    @property
    def is_certain(self) -> bool:
        return self.draft is None or self.draft.logits is None


def judge(rows: Any, requests: Sequence[Judged], verifier: str) -> list[list[int]]:
    """New tokens of each request: what is kept of its draft, and one more.

    Args:
        rows: float32 [sum of len(drafted) + 1, vocab] on the CPU: the target's logits behind the
            text and behind each drafted token, in the requests' order.
        verifier: of drafts that are drawn. Certain ones are matched: such text is that of plain
            seeded decoding.
    """
    first = [0]
    for request in requests:
        first.append(first[-1] + len(request.drafted) + 1)
    tokens: list[list[int]] = [[] for _ in requests]
    for certain in (True, False):
        chosen = [i for i, request in enumerate(requests) if request.is_certain == certain]
        if not chosen:
            continue
        part = rows
        if len(chosen) < len(requests):
            import torch

            part = torch.cat([rows[first[i] : first[i + 1]] for i in chosen])
        own = [requests[i] for i in chosen]
        for i, new in zip(chosen, _verified(part, own, certain, verifier), strict=True):
            tokens[i] = new
    return tokens


def _verified(
    rows: Any, requests: Sequence[Judged], certain: bool, verifier: str
) -> list[list[int]]:
    trees = Trees.chains([[0, *request.drafted] for request in requests])
    if certain:
        proposals, draft_rows = [Proposal("one_hot")] * len(trees.tokens), None
    else:
        proposals, draft_rows = _draft_rows(requests, rows.shape[1])
    sampling = [request.sampling for request in requests]
    kept = verify(
        trees,
        rows,
        proposals=proposals,
        draft_logits=draft_rows,
        sampling=sampling,
        draft_sampling=None if certain else [one.draft.sampling for one in requests if one.draft],
        verifier="match" if certain else verifier,
        requests=[0] * len(requests),  # the seeds tell them apart
        positions=[request.position for request in requests],
        on_error="status",
    )
    tokens = []
    for i, request in enumerate(requests):
        if (reason := kept.status[i]) is not None:
            tokens.append([_likeliest(rows[trees.offsets[i]], reason)])
            continue
        tokens.append([*request.drafted[: len(kept.path(i))], kept.next_token[i]])
    return tokens


def _draft_rows(requests: Sequence[Judged], vocab: int) -> tuple[list[Proposal], Any]:
    """Proposals of all nodes, and the rows they point to: float32 [rows, vocab]."""
    import torch

    counts = [len(one.draft.logits) for one in requests if one.draft is not None]
    table = torch.full((sum(counts), vocab), -torch.inf)
    proposals, begin = list[Proposal](), 0
    for request, count in zip(requests, counts, strict=True):
        assert request.draft is not None
        logits = torch.from_numpy(request.draft.logits)[:, :vocab]
        table[begin : begin + count, : logits.shape[1]] = logits
        for proposal in request.draft.proposals[: len(request.drafted)]:
            row = None if proposal.row is None else proposal.row + begin
            proposals.append(replace(proposal, row=row))
        proposals.append(Proposal("one_hot"))  # of a leaf, which is not read
        begin += count
    return proposals, table


def _likeliest(row: Any, reason: str) -> int:
    """What a service says where the target's row is damaged: it must say something."""
    import torch

    _log.warning("the target's logits are no distribution, the likeliest is taken: %s", reason)
    return int(torch.nan_to_num(row, nan=-torch.inf, posinf=torch.finfo(row.dtype).max).argmax())
