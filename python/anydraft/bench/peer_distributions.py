"""Whether a peer's tokens have the distribution they should, before its time is compared with ours.

On few tokens, with the exact distribution of `anydraft.probs`: drawn tokens, and first tokens of
chains that were drawn from a drafter's row (whatever the drafter, they have the target's
distribution).
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from anydraft import SamplingParams, probs, sample

VOCAB = 64
DRAWS = 8192
DRAWS_ONE_BY_ONE = 800  # of a peer that takes one request a call


class PeerDistributions:
    """Checks each peer once a kind of case and filter.

    Args:
        device: of the rows.
    """

    def __init__(self, device: str = "cuda") -> None:
        self.device = device
        self._found: dict[tuple[str, str, bool], str] = {}

    def wrong(self, name: str, peer: Any, kind: str, params: SamplingParams) -> str:
        """Why a peer's time says nothing; "" where its distribution is the exact one's within the
        error of a sample."""
        key = name, kind, bool(params.top_k or params.top_p < 1)
        if key not in self._found:
            self._found[key] = self._check(peer, kind, params)
        return self._found[key]

    def _check(self, peer: Any, kind: str, params: SamplingParams) -> str:
        case = self._case(kind, params)
        try:
            if getattr(peer, "waits", False):
                size = len(case.tokens) // DRAWS
                ones = (_one(case, i, size) for i in range(DRAWS_ONE_BY_ONE))
                tokens = [_first(peer, kind, one)[0] for one in ones]
            else:
                tokens = _first(peer, kind, case)
        except Exception as error:
            return f"{type(error).__name__}: {error}"[:200]
        return differs(tokens, probs(case.row, params)[0].tolist())

    def _case(self, kind: str, params: SamplingParams) -> Any:
        import torch

        generator = torch.Generator().manual_seed(4)
        # No two equal in bfloat16: where filters cut is no matter of taste.
        row, other = (torch.randperm(VOCAB, generator=generator) / 12.8 for _ in range(2))
        rows = torch.stack([row, row + other / 4]).bfloat16()
        if kind == "draw":
            logits = rows[:1].expand(DRAWS, -1).contiguous()
            return SimpleNamespace(row=rows[:1], logits=logits.to(self.device), params=params)
        drafts = sample(
            rows[1:].expand(DRAWS, -1),
            SamplingParams(
                temperature=params.temperature, top_k=params.top_k, top_p=params.top_p, seed=6
            ),
            [(i, 0) for i in range(DRAWS)],
        )
        tokens = torch.stack([torch.zeros_like(drafts), drafts], 1).int().flatten()
        target, draft = (row.expand(2 * DRAWS, -1).contiguous().to(self.device) for row in rows)
        return SimpleNamespace(
            row=rows[:1],
            target=target,
            draft=draft,
            tokens=tokens.to(self.device),
            drafts=1,
            params=params,
        )


def _one(case: Any, index: int, size: int) -> Any:
    begin, end = index * size, (index + 1) * size
    parts = {name: getattr(case, name)[begin:end] for name in ("target", "draft", "tokens")}
    return SimpleNamespace(**vars(case) | parts)


def _first(peer: Any, kind: str, case: Any) -> list[int]:
    """First token of each request."""
    output = getattr(peer, kind)(case)()
    if hasattr(peer, "first"):
        output = peer.first(kind, case, output)
    output = output[0] if isinstance(output, tuple) else output
    return [int(token) for token in output.reshape(len(output), -1)[:, 0].tolist()]


def differs(tokens: list[int], distribution: list[float]) -> str:
    """How a sample contradicts a distribution; "" where it does not (chi-square, five
    deviations).
    """
    total = len(tokens)
    strange = sum(
        not 0 <= token < len(distribution) or distribution[token] == 0 for token in tokens
    )
    if strange:
        return f"{strange} of {total} tokens have no mass in the exact distribution"
    wanted = [total * mass for mass in distribution]
    common = [token for token, count in enumerate(wanted) if count >= 5]
    seen = [tokens.count(token) for token in common]
    rest = total - sum(wanted[token] for token in common)
    cells = [(s, wanted[token]) for s, token in zip(seen, common, strict=True)]
    if rest >= 5:
        cells.append((total - sum(seen), rest))
    square = sum((s - w) ** 2 / w for s, w in cells)
    freedom = max(1, len(cells) - 1)
    if square <= freedom + 5 * (2 * freedom) ** 0.5:
        return ""
    return f"another distribution than the exact one: chi-square {square:.0f}, {freedom} expected"
