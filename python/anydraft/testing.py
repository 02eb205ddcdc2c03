"""Is a verifier lossless? Its exact output distribution on a small case, a seeded audit on a large
one.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from anydraft._core import testing as _testing
from anydraft.drafts import Proposal, Trees, TreeShape, draw_children, kind_number
from anydraft.errors import InputError
from anydraft.sampling import SamplingParams
from anydraft.verification import sample, verify


def row_of(prefix: Sequence[int], vocab: int) -> int:
    """Row of a prefix in a table by prefix: 0 for the empty one, n * vocab + 1 + token behind n."""
    row = 0
    for token in prefix:
        row = row * vocab + 1 + token
    return row


def rows_for(vocab: int, length: int) -> int:
    """Rows of a table of all prefixes up to a length."""
    return sum(vocab**i for i in range(length + 1))


@dataclass(frozen=True)
class OutputDistribution:
    """The distribution of the first tokens: one round's, then, where it emitted fewer, the
    target's own.

    Attributes:
        emitted: float64 [vocab] * (depth + 1], the distribution of depth + 1 tokens.
        target: the same for the target alone.
        accepted: mean number of drafted tokens a round keeps.
        rounds: {emitted tokens of the round: probability}.
    """

    emitted: Any
    target: Any
    accepted: float
    rounds: dict[tuple[int, ...], float]

    @property
    def error(self) -> float:
        """Largest difference between the two distributions; rounding (below 1e-12) where
        lossless.
        """
        return float(abs(self.emitted - self.target).max())


def output_distribution(
    verifier: str,
    target_logits: Any,
    draft_logits: Any,
    shape: str | TreeShape,
    *,
    scheme: str = "iid",
    stated_scheme: str | None = None,
    sampling: SamplingParams | None = None,
    draft_sampling: SamplingParams | None = None,
    sparse: int = 2,
    merge: bool | None = None,
) -> OutputDistribution:
    """The exact distribution of what a verifier of this build emits, from its shipped source.

    Drafting and verification are played along every branch with its exact weight (the enumerating
    backend), so the cost grows with the number of branches: vocabularies up to 5 and trees up to
    7 nodes take well under a second.

    Args:
        verifier: a name out of `verifiers()`.
        target_logits, draft_logits: float32 [rows, vocab] (numpy or torch): the models as tables by
            prefix, see `row_of`; as many rows as `rows_for(vocab, depth)`.
        shape: of the tree, as `TreeShape.parse` takes it; for "multipath" the first width is the
            number of paths.
        scheme: how children are drawn; "sparse": from the `sparse` likeliest tokens.
        stated_scheme: what the verifier is told they were drawn by (None: the truth).
        merge: whether equal siblings become one node with several paths (None: for "multipath").

    >>> import numpy as np
    >>> tables = np.random.default_rng(0).standard_normal((2, rows_for(3, 2), 3), np.float32)
    >>> output_distribution("top_down", *tables, "2x2", scheme="spechub").error < 1e-12
    True
    """
    import numpy as np

    from anydraft._testing import enumerate as outcomes_of

    tree = TreeShape.parse(shape)
    depth = tree.depth if tree.max_nodes else len(tree.widths)
    sampling = sampling or SamplingParams()
    outcomes = outcomes_of(
        target_logits,
        draft_logits,
        list(tree.widths),
        kind_number(scheme),
        kind_number(stated_scheme or scheme),
        sparse,
        verifier == "multipath" if merge is None else merge,
        tree.max_nodes,
        tree.depth,
        tree.beam,
        sampling,
        draft_sampling or sampling,
        verifier,
    )
    rounds: dict[tuple[int, ...], float] = {}
    for weight, emitted in outcomes:
        rounds[tuple(emitted)] = rounds.get(tuple(emitted), 0.0) + weight
    masses = np.array(_testing.distribution_masses(target_logits, sampling))
    vocab = masses.shape[1]
    joint = np.zeros((vocab,) * (depth + 1))
    for tokens in itertools.product(range(vocab), repeat=depth + 1):
        chances = [masses[row_of(tokens[:i], vocab), tokens[i]] for i in range(depth + 1)]
        for length in range(1, depth + 2):
            joint[tokens] += rounds.get(tokens[:length], 0.0) * math.prod(chances[length:])
    target = np.ones((vocab,) * (depth + 1))
    for tokens in itertools.product(range(vocab), repeat=depth + 1):
        target[tokens] = math.prod(
            masses[row_of(tokens[:i], vocab), tokens[i]] for i in range(depth + 1)
        )
    accepted = sum(weight * (len(tokens) - 1) for tokens, weight in rounds.items())
    return OutputDistribution(joint, target, accepted, rounds)


@dataclass(frozen=True)
class Audit:
    """A chi-square test of emitted tokens against the target's distribution.

    Attributes:
        statistic, degrees: of the chi-square.
        p_value: chance of a statistic as large, were the distribution the target's (Wilson and
            Hilferty's approximation), times the number of depths played. Seeded: the same on every
            run.
        runs: how many rounds of a depth were played.
    """

    statistic: float
    degrees: int
    p_value: float
    runs: int


def audit(
    verifier: str | Callable[..., Any],
    target_logits: Any,
    draft_logits: Any,
    *,
    width: int = 2,
    scheme: str = "iid",
    sampling: SamplingParams | None = None,
    runs: int = 20000,
    bins: int = 40,
    seed: int = 0,
) -> Audit:
    """Whether what a verifier emits has the target's distribution, on rows of any size.

    Args:
        verifier: a name, or any callable with the signature of `anydraft.verify` (called with
            trees, target_logits, proposals=, draft_logits=, sampling=, requests=, positions=).
        target_logits, draft_logits: float32 torch tensors [vocab]: the distributions at every
            node. Rounds with drafts of one level and of two are played, and the first two and
            three tokens are
            looked at together: a verifier may be right about the first and wrong about the next,
            or wrong only below a second level. Or [depth + 1, vocab] and [depth, vocab], the
            distributions
            level by level: the first depth + 1 tokens are looked at together.
        width: children drawn at a node.
        runs: rounds of each depth, each with uniforms of its own; in batches of 500 requests.
        bins: outcomes are put together by their mass in the target's distribution.

    Raises:
        InputError: rows that do not fit each other.

    >>> import torch
    >>> rows = torch.randn(5, 50, generator=torch.Generator().manual_seed(0))
    >>> audit("top_down", rows[0], rows[1], runs=2000).p_value > 1e-4
    True
    >>> audit("top_down", rows[:3], rows[3:], runs=2000).p_value > 1e-4
    True
    """
    by_level = draft_logits.dim() == 2
    depth = draft_logits.shape[0] if by_level else 0
    wanted = (depth + 1, *draft_logits.shape[1:]) if by_level else draft_logits.shape
    if target_logits.shape != wanted or target_logits.dim() not in (1, 2):
        raise InputError(
            "[audit] expected two rows [vocab], or [depth + 1, vocab] and [depth, vocab], got "
            f"{list(target_logits.shape)} and {list(draft_logits.shape)}"
        )
    params = (sampling or SamplingParams()).replace(seed=seed)
    params.check_rows("audit")
    if runs < 2 * _EXPECTED:
        raise InputError(f"[audit] expected runs >= {2 * _EXPECTED}, got {runs}")
    judge = verifier if callable(verifier) else functools.partial(verify, verifier=verifier)
    vocab = target_logits.shape[-1]
    found = [
        _audit_depth(
            judge,
            target_logits.reshape(-1, vocab).expand(levels + 1, vocab),
            draft_logits.reshape(-1, vocab).expand(levels, vocab),
            width,
            scheme,
            params,
            runs,
            bins,
            seed,
        )
        for levels in ((depth,) if by_level else (1, 2))
    ]
    worst = min(found, key=lambda one: one.p_value)
    return dataclasses.replace(worst, p_value=min(1.0, len(found) * worst.p_value))


def _audit_depth(
    judge: Callable[..., Any],
    target_rows: Any,
    draft_rows: Any,
    width: int,
    scheme: str,
    params: SamplingParams,
    runs: int,
    bins: int,
    seed: int,
) -> Audit:
    """The first tokens of rounds with drafts as deep as `draft_rows` [levels, vocab] has levels."""
    import torch

    levels, looked_at = draft_rows.shape[0], target_rows.shape[0]
    masses = torch.tensor(_testing.distribution_masses(target_rows.contiguous(), params))
    groups = _groups(masses, round(bins ** (1 / looked_at)) + 1)
    counts, expected = _joint(masses, groups)
    for begin in range(0, runs, 500):
        requests = list(range(begin, min(begin + 500, runs)))
        drawn = [_draw_tree(scheme, draft_rows, params, width, request) for request in requests]
        offsets = [0, *itertools.accumulate(len(tree.tokens) for tree in drawn)]
        tokens = [token for tree in drawn for token in tree.tokens]
        depths = [depth for tree in drawn for depth in tree.depths]
        result = judge(
            Trees(tokens, [parent for tree in drawn for parent in tree.parents], offsets),
            target_rows[depths],
            proposals=[Proposal(scheme, d) if d < levels else Proposal("one_hot") for d in depths],
            draft_logits=draft_rows,
            sampling=params,
            requests=requests,
            positions=[0] * len(requests),
        )
        # Where a round emits less than is looked at, the target goes on by itself.
        alone = [
            sample(row.expand(len(requests), -1), params.replace(seed=seed + 1), keys).tolist()
            for level, row in enumerate(target_rows)
            for keys in [[(request, level) for request in requests]]
        ]
        for i, begins in enumerate(offsets[:-1]):
            path = result.accepted[result.offsets[i] : result.offsets[i + 1]]
            text = [*(tokens[begins + node] for node in path), int(result.next_token[i])]
            text += [row[i] for row in alone[len(text) :]]
            if any(masses[level, token] <= 0 for level, token in enumerate(text[:looked_at])):
                raise InputError(f"[audit] expected tokens with mass, got {text[:looked_at]}")
            at = tuple(int(groups[level, token]) for level, token in enumerate(text[:looked_at]))
            counts[at] += 1
    return chi_square(counts.flatten(), expected.flatten(), bins)


def _groups(masses: Any, count: int) -> Any:
    """int64 [levels, vocab]: the group of each token, `count` of about equal mass a level."""
    import torch

    if count >= masses.shape[1]:
        return torch.arange(masses.shape[1]).expand(masses.shape[0], -1)
    order = masses.argsort(dim=1, descending=True)
    begins = masses.gather(1, order).cumsum(1) - masses.gather(1, order)
    groups = torch.zeros(masses.shape, dtype=torch.int64)
    return groups.scatter_(1, order, (begins * count).long().clamp_(max=count - 1))


def _joint(masses: Any, groups: Any) -> tuple[Any, Any]:
    """Counts of nothing yet, and the distribution, of the groups of all levels: [groups] *
    levels.
    """
    import torch

    size = int(groups.max()) + 1
    joint = torch.ones((), dtype=torch.float64)
    for mass, group in zip(masses, groups, strict=True):
        grouped = torch.zeros(size, dtype=torch.float64).index_add_(0, group, mass.double())
        joint = joint[..., None] * grouped
    return torch.zeros(joint.shape, dtype=torch.int64), joint


@dataclass
class _Tree:
    """[nodes], the root first, a level behind the other."""

    tokens: list[int]
    parents: list[int]
    depths: list[int]


def _draw_tree(scheme: str, rows: Any, params: SamplingParams, width: int, request: int) -> _Tree:
    """A tree of as many levels as rows; no two nodes draw with one uniform."""
    tree = _Tree([0], [-1], [0])
    for level, row in enumerate(rows):
        for node in [node for node, depth in enumerate(tree.depths) if depth == level]:
            uniform = len(tree.tokens) - 1
            children = draw_children(scheme, row, params, width, request=request, node=uniform)
            tree.tokens += children
            tree.parents += [node] * len(children)
            tree.depths += [level + 1] * len(children)
    return tree


_EXPECTED = 5  # counts in a bin, at least


def chi_square(counts: Any, masses: Any, bins: int = 40) -> Audit:
    """Counts [outcomes] against a distribution [outcomes], outcomes put together to about equal
    masses, so that at least five counts are expected in each.

    Raises:
        InputError: a count where the distribution has no mass.
    """
    import torch

    runs = int(counts.sum())
    if int(counts[masses <= 0].sum()) > 0:
        raise InputError("[chi_square] expected no outcome without mass, got one")
    order = torch.argsort(masses, descending=True)
    place = masses[order].cumsum(0) - masses[order]
    index = (place * bins / masses.sum()).long().clamp(max=bins - 1)
    binned = torch.zeros(bins, dtype=torch.float64).index_add_(0, index, masses[order].double())
    seen = torch.zeros(bins, dtype=torch.float64).index_add_(0, index, counts[order].double())
    binned *= runs / binned.sum()
    expected, counted = [0.0], [0.0]
    for mass, count in zip(binned.flip(0).tolist(), seen.flip(0).tolist(), strict=True):
        if expected[-1] >= _EXPECTED:  # else the statistic is no chi-square, and cries wolf
            expected.append(0.0)
            counted.append(0.0)
        expected[-1] += mass
        counted[-1] += count
    if len(expected) > 1 and expected[-1] < _EXPECTED:
        expected[-2:], counted[-2:] = [sum(expected[-2:])], [sum(counted[-2:])]
    degrees = len(expected) - 1
    if degrees < 1:
        return Audit(0.0, degrees, 1.0, runs)
    pairs = zip(expected, counted, strict=True)
    statistic = sum((count - mass) ** 2 / mass for mass, count in pairs)
    spread = 2 / (9 * degrees)
    normal = ((statistic / degrees) ** (1 / 3) - (1 - spread)) / math.sqrt(spread)
    return Audit(statistic, degrees, math.erfc(normal / math.sqrt(2)) / 2, runs)
