"""The best acceptance that is possible with given drafts: optimal transport with membership cost.

SpecTr (arXiv 2310.15141), SpecHub (arXiv 2411.05289).
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import permutations, product
from typing import TYPE_CHECKING, Any

from anydraft.errors import InputError
from anydraft.theory.rows import by_ratio, check_k, distribution_of, pair, remaining, split
from anydraft.theory.siblings import acceptance

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from anydraft.theory.rows import Row


def optimal_acceptance(
    target_probs: ArrayLike, draft_probs: ArrayLike, k: int = 2, scheme: str = "iid"
) -> float:
    """The best acceptance any lossless rule reaches with these drafts, in O(vocab log vocab).

    The value of the optimal transport with membership cost: 1 + min over sets H of
    target(H) - P(all drafts lie in H), where the best H is a prefix of the tokens sorted by
    draft / target.

    Args:
        target_probs, draft_probs: [vocab], distributions over the same vocabulary.
        scheme: iid (or kseq: the same drafts), without_replacement (k <= 2), hub, greedy_k,
            one_hot.
            The last three are optimal for their own drafts: the value is `acceptance`'s.

    Raises:
        InputError: as `acceptance`; without_replacement with k > 2, which has no closed form.

    >>> round(optimal_acceptance([0.5, 0.5], [0.8, 0.2], 2), 3)
    0.86
    """
    target, draft = pair("optimal_acceptance", target_probs, draft_probs)
    check_k("optimal_acceptance", k, scheme)
    if scheme in ("spechub", "greedy_k", "one_hot"):
        return acceptance(target, draft, k, scheme)
    if scheme == "without_replacement" and k > 2:
        raise InputError(
            f"[optimal_acceptance] expected k <= 2 for distribution without_replacement, got {k}"
        )
    order = by_ratio(draft, target)[::-1]
    inside = _all_inside(draft[order], k, scheme)
    return float(min(1.0, 1 + (target[order].cumsum() - inside).min()))


def gap(target_probs: ArrayLike, draft_probs: ArrayLike, k: int = 2, scheme: str = "iid") -> float:
    """How far `acceptance` stays below `optimal_acceptance` of the same drafts.

    Raises:
        InputError: as `optimal_acceptance`.

    >>> gap([0.5, 0.3, 0.2], [0.7, 0.2, 0.1], 2, "spechub")
    0.0
    """
    best = optimal_acceptance(target_probs, draft_probs, k, scheme)
    return max(0.0, best - acceptance(target_probs, draft_probs, k, scheme))


def draft_sets(
    draft_probs: ArrayLike, k: int = 2, scheme: str = "iid"
) -> dict[frozenset[int], float]:
    """The distribution of the set of drafted tokens, by enumeration: vocab^k tuples. For small
    vocabularies.

    Raises:
        InputError: a row that is not a distribution, k < 1, an unknown scheme.

    >>> draft_sets([0.5, 0.5], 2, "without_replacement")
    {frozenset({0, 1}): 1.0}
    """
    draft = distribution_of("draft_sets", "draft_probs", draft_probs)
    check_k("draft_sets", k, scheme)
    if scheme in ("iid", "kseq"):
        return _drawn(draft, k, replace=True)
    if scheme == "without_replacement":
        return _drawn(draft, k, replace=False)
    certain, rest = split(draft, k if scheme == "one_hot" else k - 1)
    fixed = frozenset(int(token) for token in certain)
    if scheme == "one_hot" or rest is None:
        return {fixed: 1.0}
    return {fixed | {int(token)}: float(rest[token]) for token in rest.nonzero()[0]}


def _drawn(draft: Row, k: int, *, replace: bool) -> dict[frozenset[int], float]:
    support = [int(token) for token in draft.nonzero()[0]]
    ways = product(support, repeat=k) if replace else permutations(support, min(k, len(support)))
    sets: dict[frozenset[int], float] = {}
    for tokens in ways:
        mass = 1.0
        for place, token in enumerate(tokens):
            left = [t for t in support if replace or t not in tokens[:place]]
            mass *= float(draft[token] / draft[left].sum())
        sets[frozenset(tokens)] = sets.get(frozenset(tokens), 0.0) + mass
    return sets


def transport_lp(target_probs: ArrayLike, sets: Mapping[frozenset[int], float]) -> float:
    """The best acceptance with drafts of this distribution, by linear programming (HiGHS).

    Optimal transport with membership cost (SpecTr; SpecHub, section 3): maximise the mass sent
    from drafted sets to a token within them. A reference for small vocabularies.

    Args:
        target_probs: [vocab].
        sets: drafted set -> probability, as `draft_sets` makes it.

    Raises:
        InputError: a row that is not a distribution.
        ImportError: scipy is missing.

    >>> round(transport_lp([0.5, 0.5], draft_sets([0.8, 0.2], 2)), 3)  # doctest: +SKIP
    0.86
    """
    import numpy as np

    try:
        from scipy.optimize import linprog
        from scipy.sparse import coo_array
    except ImportError as error:
        raise ImportError("transport_lp needs scipy: pip install scipy") from error
    target = distribution_of("transport_lp", "target_probs", target_probs)
    pairs = [(row, token) for row, drafted in enumerate(sets) for token in drafted]
    rows = np.array([row for row, _ in pairs] + [len(sets) + token for _, token in pairs])
    columns = np.tile(np.arange(len(pairs)), 2)
    limits = np.concatenate([np.array(list(sets.values())), target])
    matrix = coo_array((np.ones(len(rows)), (rows, columns)), shape=(len(limits), len(pairs)))
    found: Any = linprog(-np.ones(len(pairs)), A_ub=matrix.tocsr(), b_ub=limits, method="highs")
    return float(-found.fun)


def _all_inside(draft: Row, k: int, scheme: str) -> Row:
    """P(all drafts lie among the first 1, 2, … tokens), [vocab]; draft in that order."""
    import numpy as np

    mass = draft.cumsum()
    if scheme != "without_replacement" or k == 1:
        both: Row = np.minimum(mass, 1.0) ** k
        return both
    if not remaining(draft).all():
        return mass
    # Pairs that begin with the hub by themselves: its 1 - draft may have no digit left.
    hub = int(draft.argmax())
    weight = draft / remaining(draft)
    others = np.where(np.arange(len(draft)) == hub, 0.0, weight)
    beyond = np.where(np.arange(len(draft)) == hub, 0.0, draft).cumsum()
    from_hub = np.where(np.arange(len(draft)) >= hub, weight[hub] * beyond, 0.0)
    inside: Row = others.cumsum() * mass - (others * draft).cumsum() + from_hub
    return inside
