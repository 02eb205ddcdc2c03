"""Laws and draws from rows of logits, and the verification of draft trees: pure functions."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from anydraft import _core
from anydraft._core import SamplingParams
from anydraft.errors import InputError

_KINDS = {"one_hot": 0, "row": 1}


@dataclass(frozen=True)
class Trees:
    """Draft trees of all requests, as flat arrays.

    Attributes:
        tokens: int [nodes]. Node 0 of a request is its root, the last committed token.
        parents: int [nodes], index within the request; -1: the root; parents before children.
        offsets: int [requests + 1] into both.
    """

    tokens: Sequence[int]
    parents: Sequence[int]
    offsets: Sequence[int]

    @classmethod
    def chains(cls, tokens: Sequence[Sequence[int]]) -> Trees:
        """One chain a request: its root, then its drafted tokens.

        >>> Trees.chains([[5, 1, 2], [7]])
        Trees(tokens=[5, 1, 2, 7], parents=[-1, 0, 1, -1], offsets=[0, 3, 4])
        """
        offsets = [0]
        for chain in tokens:
            offsets.append(offsets[-1] + len(chain))
        flat = [token for chain in tokens for token in chain]
        return cls(flat, [i - 1 for chain in tokens for i in range(len(chain))], offsets)


@dataclass(frozen=True)
class Law:
    """What the children of one node were proposed from, each given its earlier siblings.

    Attributes:
        kind: "row" (drawn independently from a row of draft logits) or "one_hot" (deterministic).
        row: for "row": index into `draft_logits`.
    """

    kind: str = "row"
    row: int | None = None


@dataclass(frozen=True)
class VerifyResult:
    """What a verification keeps.

    Attributes:
        accepted: nodes of the kept paths, the roots left out; flat, cut by `offsets`.
        offsets: [requests + 1].
        next_token: [requests] the recovered or bonus token of each request.
    """

    accepted: list[int]
    offsets: list[int]
    next_token: list[int]


def probs(logits: Any, params: SamplingParams) -> Any:
    """The law of each row as the engine defines it, for looking.

    Args:
        logits: torch tensor [rows, vocab], CPU, float32, bfloat16 or float16.
        params: temperature, top-k, top-p and min-p, applied in this order; ties are kept.

    Returns:
        torch.float32 [rows, vocab]; each row sums to 1 within rounding.

    Raises:
        NonFiniteLogitsError: NaN or +inf in a row, or -inf everywhere.

    >>> import torch
    >>> probs(torch.tensor([[0.0, 0.0, -9.0]]), SamplingParams(top_k=1))
    tensor([[0.5000, 0.5000, 0.0000]])
    """
    import torch

    out = torch.empty(logits.shape, dtype=torch.float32)
    _core.write_probs(logits, params, out)
    return out


def sample(logits: Any, params: SamplingParams, keys: Sequence[tuple[int, int]]) -> Any:
    """One token a row, drawn with the coin of plain decoding (purpose `target`).

    Args:
        logits: torch tensor [rows, vocab], as for `probs`.
        params: its `seed` keys the coins (None: 0).
        keys: (request, position) a row.

    Returns:
        torch.int64 [rows].

    >>> import torch
    >>> sample(torch.tensor([[0.0, 50.0]]), SamplingParams(seed=1), [(0, 0)])
    tensor([1])
    """
    import torch

    coins = [_core.coin(params.seed or 0, request, position, 0, 5) for request, position in keys]
    return torch.tensor(_core.sample_rows(logits, params, coins), dtype=torch.int64)


def verify(
    trees: Trees,
    target_logits: Any,
    *,
    laws: Sequence[Law],
    draft_logits: Any = None,
    sampling: SamplingParams,
    draft_sampling: SamplingParams | None = None,
    verifier: str = "top_down",
    requests: Sequence[int] | None = None,
    positions: Sequence[int] | None = None,
    coins: tuple[Sequence[float], Sequence[float]] | None = None,
) -> VerifyResult:
    """Keep a path of each tree and one more token, so that the text has the target's law.

    Args:
        trees: the drafts.
        target_logits: [nodes, vocab], the target's logits after each node; CPU (CUDA where built).
        laws: one a node: the law of the node's children (what stands at a leaf is not read).
        draft_logits: [rows, vocab] in target ids, for laws of kind "row".
        sampling: the target's parameters; its seed keys the coins (None: 0).
        draft_sampling: the drafter's, exactly as the drafts were drawn (None: as the target's).
        verifier: a name out of `verifiers()`.
        requests, positions: [requests] keys of the coins: request number and committed length.
        coins: instead of keys, (accept [nodes], pick [nodes]), each in (0, 1).

    Returns:
        The kept paths and next tokens. Pure: equal arguments give equal results.

    Raises:
        InputError: arrays that do not fit each other; the message names request and node.
        NonFiniteLogitsError: a row that the walk reads holds NaN or +inf; it is named.

    Source: Leviathan et al. 2023 ("top_down" on chains), Miao et al. 2024 (siblings).

    >>> import torch
    >>> tree = Trees.chains([[0, 1, 1]])
    >>> rows = torch.tensor([[0.0, 40.0], [40.0, 0.0], [0.0, 0.0]])
    >>> verify(tree, rows, laws=[Law("one_hot")] * 3, sampling=SamplingParams(temperature=0))
    VerifyResult(accepted=[1], offsets=[0, 1], next_token=[0])
    """
    for law in laws:
        if law.kind not in _KINDS:
            raise InputError(f"[verify] expected a law of kind {', '.join(_KINDS)}, got {law.kind}")
    accept, pick = coins if coins is not None else (None, None)
    stream = 0
    device: Any = contextlib.nullcontext()
    if getattr(target_logits, "is_cuda", False):
        import torch

        device = torch.cuda.device(target_logits.device)
        stream = torch.cuda.current_stream(target_logits.device).cuda_stream
    with device:
        accepted, offsets, next_token = _core.verify(
            trees.tokens,
            trees.parents,
            trees.offsets,
            target_logits,
            [_KINDS[law.kind] for law in laws],
            [-1 if law.row is None else law.row for law in laws],
            draft_logits,
            sampling,
            draft_sampling or sampling,
            verifier,
            sampling.seed or 0,
            requests,
            positions,
            accept,
            pick,
            stream,
        )
    return VerifyResult(accepted, offsets, next_token)


def verifiers() -> list[dict[str, str]]:
    """The walks this build has: name, kinds of law each takes, source."""
    return [dict(zip(("name", "laws", "source"), row, strict=True)) for row in _core.verifiers()]
