"""Distributions and draws from rows of logits, and the verification of draft trees: pure
functions.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from anydraft import _core
from anydraft.checks import MOST, UINT32, string, whole_numbers
from anydraft.drafts import Proposal, Trees, kind_number
from anydraft.errors import InputError
from anydraft.sampling import SamplingParams, each_params


@dataclass(frozen=True)
class VerifyResult:
    """What a verification keeps.

    Attributes:
        accepted: nodes of the kept paths, the roots left out; flat, cut by `offsets`.
        offsets: [requests + 1].
        next_token: [requests] the recovered or bonus token of each request; -1: it failed.
        status: [requests] what failed, else None; empty with on_error="raise".
        degenerate: [requests] whether a residual was nothing but rounding, and so left as it was.
        acceptance: [nodes] on request: the probability a node is accepted with once it is offered,
            its parent reached and its earlier siblings rejected (traversal and block: its joint
            weight; roots 1).

    >>> import torch
    >>> from anydraft import Proposal, SamplingParams, Trees, verify
    >>> kept = verify(
    ...     Trees.chains([[0, 1]]),
    ...     torch.tensor([[0.0, 40.0], [40.0, 0.0]]),
    ...     proposals=[Proposal("one_hot")] * 2,
    ...     sampling=SamplingParams(temperature=0),
    ... )
    >>> kept.path(), kept.keep(), kept.next_token
    ([1], [0, 1], [0])
    """

    accepted: list[int]
    offsets: list[int]
    next_token: list[int]
    status: list[str | None]
    degenerate: list[bool]
    acceptance: list[float] | None = None

    def path(self, request: int = 0) -> list[int]:
        """Accepted nodes of one request, root left out."""
        return self.accepted[self.offsets[request] : self.offsets[request + 1]]

    def keep(self, request: int = 0) -> list[int]:
        """Slots of the request's tree to keep in the target's cache: the root and the path."""
        return [0, *self.path(request)]


def probs(logits: Any, params: SamplingParams) -> Any:
    """The distribution of each row as the engine defines it, for looking.

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

    params.check_rows("probs")
    out = torch.empty(logits.shape, dtype=torch.float32)
    _core.write_probs(logits, params, out)
    return out


def sample(logits: Any, params: SamplingParams, keys: Sequence[tuple[int, int]]) -> Any:
    """One token a row, drawn with the uniform of plain decoding (purpose `target`).

    Args:
        logits: torch tensor [rows, vocab], as for `probs`; CUDA where built (waits for it).
        params: its `seed` keys the uniforms (None: 0).
        keys: (request, position) a row.

    Returns:
        torch.int64 [rows], on the CPU.

    >>> import torch
    >>> sample(torch.tensor([[0.0, 50.0]]), SamplingParams(seed=1), [(0, 0)])
    tensor([1])
    """
    import torch

    params.check_rows("sample")
    uniforms = [
        _core.uniform(params.seed or 0, request, position, 0, 5) for request, position in keys
    ]
    with current_stream(logits) as stream:
        tokens = _core.sample_rows(logits, params, uniforms, stream)
    return torch.tensor(tokens, dtype=torch.int64)


def verify(
    trees: Trees,
    target_logits: Any,
    *,
    proposals: Sequence[Proposal],
    draft_logits: Any = None,
    sampling: SamplingParams | Sequence[SamplingParams],
    draft_sampling: SamplingParams | Sequence[SamplingParams] | None = None,
    verifier: str = "traversal",
    requests: Sequence[int] | None = None,
    positions: Sequence[int] | None = None,
    uniforms: tuple[Sequence[float], ...] | None = None,
    on_error: Literal["raise", "status"] = "raise",
    acceptance: bool = False,
) -> VerifyResult:
    """Keep a path of each tree and one more token, so that the text has the target's distribution.

    Args:
        trees: the drafts.
        target_logits: [nodes, vocab], the target's logits after each node; CPU (CUDA where built).
            Probabilities can be passed as `logits_of(probabilities)` at temperature 1.
        proposals: one a node: how the node's children were drawn (what stands at a leaf is not
            read).
        draft_logits: [rows, vocab] in target ids, for distributions over a row.
        sampling: the target's parameters, one for all or one a request; seeds key the uniforms
            (None: 0).
        draft_sampling: the drafter's, exactly as the drafts were drawn (None: as the target's).
        verifier: a name out of `verifiers()`, which says what proposals and shapes each takes.
        requests, positions: [requests] keys of the uniforms: request number and committed length.
        uniforms: instead of keys, (accept [nodes], pick [nodes]), each in (0, 1); "multipath"
            takes a third, select [nodes].
        on_error: "status": a request that fails says so in the result, the others go on.
        acceptance: also report each node's probability of acceptance (reads every inner node).

    Returns:
        The kept paths and next tokens. Pure: equal arguments give equal results, whatever else is
        in the batch.

    Raises:
        InputError: arrays that do not fit each other, a draft token without mass in its own
            distribution; the message names request and node.
        NonFiniteLogitsError: a row that the verifier reads holds NaN or +inf; it is named.

    Source: of each verifier in `verifiers()`.

    >>> import torch
    >>> tree = Trees.chains([[0, 1, 1]])
    >>> rows = torch.tensor([[0.0, 40.0], [40.0, 0.0], [0.0, 0.0]])
    >>> greedy = SamplingParams(temperature=0)
    >>> kept = verify(tree, rows, proposals=[Proposal("one_hot")] * 3, sampling=greedy)
    >>> kept.path(), kept.next_token
    ([1], [0])
    """
    if on_error not in ("raise", "status"):
        raise InputError(f'[verify] expected on_error "raise" or "status", got {on_error!r}')
    target_params = each_params(sampling, "verify", of_rows=True)
    draft_params = target_params
    if draft_sampling is not None:
        draft_params = each_params(draft_sampling, "verify", of_rows=True)
    count = len(trees.offsets) - 1
    if len(target_params) != len(draft_params):  # one for all beside one a request
        target_params = target_params * count if len(target_params) == 1 else target_params
        draft_params = draft_params * count if len(draft_params) == 1 else draft_params
    seeds = [params.seed or 0 for params in target_params]
    accept, pick, select = (None,) * 3 if uniforms is None else _given(uniforms)
    with current_stream(target_logits) as stream:
        result = _core.verify(
            trees.tokens,
            trees.parents,
            trees.offsets,
            trees.paths,
            target_logits,
            [kind_number(proposal.kind) for proposal in proposals],
            [-1 if proposal.row is None else proposal.row for proposal in proposals],
            _sparse(proposals),
            draft_logits,
            target_params,
            draft_params,
            string(verifier, "verify", "verifier"),
            seeds * count if len(seeds) == 1 else seeds,
            _keys(requests, "requests"),
            _keys(positions, "positions"),
            accept,
            pick,
            select,
            on_error == "status",
            acceptance,
            stream,
        )
    return VerifyResult(*result)


def verify_chain(
    draft_tokens: Any,
    draft_logits: Any,
    target_logits: Any,
    *,
    sampling: SamplingParams | Sequence[SamplingParams],
    verifier: str = "traversal",
    **options: Any,
) -> VerifyResult:
    """`verify` for one chain of K tokens a request, the case everybody has.

    Args:
        draft_tokens: int [B, K], what was drafted behind each request's last committed token.
        draft_logits: [B, K, vocab], what each token was drawn from, in target ids, by the
            parameters `draft_sampling`; None: the drafts are certain.
        target_logits: [B, K + 1, vocab], the target's logits after the last committed token and
            after each drafted one. Both: torch or numpy; float32, bfloat16 or float16.
        sampling, verifier: as of `verify`.
        options: of `verify`: draft_sampling, requests, positions, uniforms, on_error, acceptance.

    Returns:
        As `verify`; request b's accepted tokens are the first `len(path(b))` of `draft_tokens[b]`.

    Raises:
        InputError: shapes that do not fit each other; what `verify` raises.

    >>> import torch
    >>> rows = torch.tensor([[[0.0, 40.0], [40.0, 0.0], [0.0, 0.0]]])
    >>> kept = verify_chain([[1, 1]], None, rows, sampling=SamplingParams(temperature=0))
    >>> kept.path(), kept.next_token
    ([1], [0])
    """
    if not isinstance(draft_tokens, Iterable):
        raise InputError(f"[verify_chain] expected draft_tokens [B, K], got {draft_tokens!r}")
    tokens = [whole_numbers(chain, "verify_chain", "draft_tokens", MOST) for chain in draft_tokens]
    count, length = len(tokens), len(tokens[0]) if tokens else 0
    rows = _flat(target_logits, "target_logits", [count, length + 1])
    if any(len(chain) != length for chain in tokens):
        raise InputError("[verify_chain] expected draft_tokens [B, K], got rows of other lengths")
    proposals = [Proposal("one_hot")] * (count * (length + 1))
    if draft_logits is not None:
        draft_logits = _flat(draft_logits, "draft_logits", [count, length])
        for request in range(count):
            first = request * (length + 1)  # its root; the last node is a leaf
            proposals[first : first + length] = [
                Proposal("iid", request * length + step) for step in range(length)
            ]
    return verify(
        Trees.chains([[0, *chain] for chain in tokens]),  # a root's token is not read
        rows,
        proposals=proposals,
        draft_logits=draft_logits,
        sampling=sampling,
        verifier=verifier,
        **options,
    )


def _flat(logits: Any, name: str, leading: list[int]) -> Any:
    """[B, n, vocab] as [B * n, vocab]."""
    shape = list(getattr(logits, "shape", ()))
    if len(shape) != 3 or shape[:2] != leading:
        raise InputError(
            f"[verify_chain] expected {name} [{leading[0]}, {leading[1]}, vocab], got {shape}"
        )
    return logits.reshape(shape[0] * shape[1], shape[2])


def _keys(values: Sequence[int] | None, name: str) -> list[int] | None:
    return None if values is None else whole_numbers(values, "verify", name, UINT32)


def _sparse(proposals: Sequence[Proposal]) -> tuple[list[int], list[int], list[float]] | None:
    if not any(proposal.kind == "sparse" for proposal in proposals):
        return None
    offsets, ids, masses = [0], list[int](), list[float]()
    for proposal in proposals:
        if len(proposal.ids) != len(proposal.masses):
            raise InputError(
                f"[Proposal] expected as many ids as masses, got {len(proposal.ids)} and "
                f"{len(proposal.masses)}"
            )
        ids.extend(proposal.ids)
        masses.extend(proposal.masses)
        offsets.append(len(ids))
    return offsets, ids, masses


_ON_CPU = contextlib.nullcontext(0)


def current_stream(logits: Any) -> contextlib.AbstractContextManager[int]:
    """Makes the logits' CUDA device current; its stream (0 on the CPU)."""
    return _on_cuda(logits) if getattr(logits, "is_cuda", False) else _ON_CPU


@contextlib.contextmanager
def _on_cuda(logits: Any) -> Iterator[int]:
    import torch

    with torch.cuda.device(logits.device):
        yield torch.cuda.current_stream(logits.device).cuda_stream


def logits_of(probabilities: Any) -> Any:
    """float32 logits whose distribution at temperature 1 is the given one, within float32's
    rounding.

    Args:
        probabilities: torch tensor [rows, vocab], each row of any positive sum.

    >>> import torch
    >>> logits_of(torch.tensor([[1.0, 0.0]]))
    tensor([[0., -inf]])
    """
    return probabilities.float().log()


def verifiers() -> list[dict[str, str]]:
    """The verifiers of this build: name, proposals, shapes, devices, cost, source.

    Cost is beyond reading each row that is needed once; a sweep reads one node's rows again.

    >>> [info["name"] for info in verifiers() if "Leviathan" in info["source"]]
    ['top_down']
    """
    names = ("name", "proposals", "shapes", "devices", "cost", "source")
    return [dict(zip(names, row, strict=True)) for row in _core.verifiers()]


def _given(uniforms: Sequence[Sequence[float]]) -> Sequence[Any]:
    """accept, pick, select or None."""
    if len(uniforms) not in (2, 3):
        raise InputError(
            f"[verify] expected uniforms (accept, pick[, select]), got {len(uniforms)}"
        )
    outside = [uniform for of_kind in uniforms for uniform in of_kind if not 0 < uniform < 1]
    if outside:
        raise InputError(f"[verify] expected uniforms in (0, 1), got {outside[0]}")
    return (*uniforms, None)[:3]
