"""Acceptance with several drafts of one token: a closed form for each draft distribution."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from anydraft.errors import InputError
from anydraft.theory.rows import by_ratio, check_k, overlap, pair, remaining, split, top

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from anydraft.theory.rows import Row


def acceptance_rate(target_probs: ArrayLike, draft_probs: ArrayLike) -> float:
    """The probability that one drafted token is accepted: sum of min(target, draft).

    It is one minus the total variation of the two distributions (Leviathan et al., corollary 3.6).

    Args:
        target_probs, draft_probs: [vocab], distributions over the same vocabulary.

    Raises:
        InputError: a row is not a distribution, or the rows differ in length.

    >>> round(acceptance_rate([0.5, 0.5], [0.8, 0.2]), 3)
    0.7
    """
    target, draft = pair("acceptance_rate", target_probs, draft_probs)
    return overlap(target, draft)


def acceptance(
    target_probs: ArrayLike, draft_probs: ArrayLike, k: int = 2, scheme: str = "iid"
) -> float:
    """The probability that one of k drafted siblings is accepted.

    Args:
        target_probs, draft_probs: [vocab], distributions over the same vocabulary.
        k: siblings drafted.
        scheme: iid (i.i.d., tried in turn), without_replacement, spechub (k = 2), greedy_k, one_hot
            (the k most probable) or kseq (i.i.d., judged by K-SEQ). All take O(k vocab log vocab),
            but for without_replacement above k = 2: O(vocab^(k - 1) log vocab).

    Raises:
        InputError: rows that are not distributions, k < 1, an unknown scheme, a spechub with k
            other than 2.

    >>> target, draft = [0.5, 0.3, 0.2], [0.7, 0.2, 0.1]
    >>> [round(acceptance(target, draft, 2, kind), 3) for kind in ("iid", "spechub", "one_hot")]
    [0.86, 1.0, 0.8]
    """
    target, draft = pair("acceptance", target_probs, draft_probs)
    check_k("acceptance", k, scheme)
    if scheme == "iid":
        return _row(target, draft, k)
    if scheme == "without_replacement":
        return _without_replacement(target, draft, k)
    if scheme == "one_hot":
        return float(target[top(draft, k)].sum())
    if scheme == "kseq":
        return _kseq(target, draft, k)[1]
    return _greedy_k(target, draft, k)


def accepted_mass(
    target_probs: ArrayLike, draft_probs: ArrayLike, token: int, k: int = 2, scheme: str = "iid"
) -> float:
    """The probability that `token` is drafted and accepted; summed over tokens: `acceptance`.

    It is at most the target's mass of the token, for every lossless rule. So on a text that the
    target wrote, accepted_mass / target mass is the probability that this round accepts the token:
    teacher-forced rows give the accepted tokens of trees without a tree being drawn.

    Args:
        token: an id in [0, vocab).
        target_probs, draft_probs, k, distribution: as in `acceptance`; without_replacement up to k
            = 2.

    Raises:
        InputError: as `acceptance`; a token out of range.

    >>> target, draft = [0.5, 0.3, 0.2], [0.7, 0.2, 0.1]
    >>> [round(accepted_mass(target, draft, i, 2, "spechub"), 3) for i in range(3)]
    [0.5, 0.3, 0.2]
    """
    target, draft = pair("accepted_mass", target_probs, draft_probs)
    check_k("accepted_mass", k, scheme)
    if not 0 <= token < len(target) or (scheme == "without_replacement" and k > 2):
        raise InputError(
            f"[accepted_mass] expected a token in [0, {len(target)}) and k <= 2 for distribution "
            f"without_replacement, got token {token} and k = {k}"
        )
    if scheme == "iid":
        return _row_mass(target, draft, token, k)
    if scheme == "without_replacement":
        return _without_replacement_mass(target, draft, token, k)
    if scheme == "kseq":
        rho, accepted = _kseq(target, draft, k)
        one, beta = min(draft[token], target[token] / rho), overlap(draft, target / rho)
        return float(one * accepted / beta) if beta > 0 else 0.0
    certain, rest = split(draft, k if scheme == "one_hot" else k - 1)
    if token in certain:
        return float(target[token])
    return 0.0 if rest is None or scheme == "one_hot" else float(min(target[token], rest[token]))


def kseq_rho(target_probs: ArrayLike, draft_probs: ArrayLike, k: int) -> float:
    """The divisor of K-SEQ: the root of 1 - (1 - beta(rho))^k = rho beta(rho) on [1, k].

    The upper end of the bisection is returned: every rho at or above the root is lossless.

    Raises:
        InputError: rows that are not distributions, or k < 1.

    >>> kseq_rho([0.5, 0.5], [0.5, 0.5], 1)
    1.0
    """
    target, draft = pair("kseq_rho", target_probs, draft_probs)
    check_k("kseq_rho", k, "kseq")
    return _kseq(target, draft, k)[0]


def _row(target: Row, draft: Row, k: int) -> float:
    rejected, residual = 1.0, target
    for _ in range(k):
        rejected *= 1 - overlap(residual, draft)
        rest = (residual - draft).clip(min=0)
        if rejected <= 0 or not rest.any():
            return 1.0
        residual = rest / rest.sum()
    return 1 - rejected


def _row_mass(target: Row, draft: Row, token: int, k: int) -> float:
    asked, mass, residual = 1.0, 0.0, target
    for _ in range(k):
        mass += asked * float(min(residual[token], draft[token]))
        asked *= max(0.0, 1 - overlap(residual, draft))
        rest = (residual - draft).clip(min=0)
        if asked == 0 or not rest.any():
            break
        residual = rest / rest.sum()
    return min(mass, float(target[token]))


def _without_replacement_mass(target: Row, draft: Row, token: int, k: int) -> float:
    import numpy as np

    mass = float(min(target[token], draft[token]))
    rest = (target - draft).clip(min=0)
    if k == 1 or not rest[token]:
        return mass
    refused = ((draft > target) & (remaining(draft) > 0)).nonzero()[0]
    second = draft[token] / remaining(draft)[refused]
    kept = np.minimum(rest[token] / rest.sum(), second)
    return min(mass + float((draft - target)[refused] @ kept), float(target[token]))


def _without_replacement(target: Row, draft: Row, k: int) -> float:
    """First: the overlap. Where token c is rejected: k - 1 more from the draft without c."""
    accepted = overlap(target, draft)
    rest = (target - draft).clip(min=0)
    if k == 1 or not rest.any():
        return accepted
    residual = rest / rest.sum()
    refused = ((draft > target) & (remaining(draft) > 0)).nonzero()[0]
    mass = (draft - target)[refused]
    if k == 2:
        return accepted + float(mass @ _second(residual, draft, refused))
    for share, token in zip(mass.tolist(), refused.tolist(), strict=True):
        accepted += share * _without_replacement(residual, _dropped(draft, token), k - 1)
    return accepted


def _second(residual: Row, draft: Row, gone: NDArray[Any]) -> Row:
    """Sum of min(residual, draft / (1 - draft[c])) for each c of `gone`, where residual is 0."""
    import numpy as np

    order = by_ratio(residual, draft)
    ratio = residual[order] / np.maximum(draft[order], 1e-300)
    low = np.concatenate([[0.0], residual[order].cumsum()])
    high = np.concatenate([draft[order][::-1].cumsum()[::-1], [0.0]])
    factor = 1 / remaining(draft)[gone]
    cut = np.searchsorted(ratio, factor, side="right")
    mass: Row = np.minimum(low[cut] + factor * high[cut], 1.0)
    return mass


def _greedy_k(target: Row, draft: Row, k: int) -> float:
    certain, rest = split(draft, k - 1)
    mass = float(target[certain].sum())
    if rest is None:
        return mass
    others = rest > 0
    return min(1.0, mass + overlap(target[others], rest[others]))


def _kseq(target: Row, draft: Row, k: int) -> tuple[float, float]:
    """(rho, acceptance): 60 halvings of [1, k]."""

    def accepted(rho: float) -> tuple[float, float]:
        beta = overlap(draft, target / rho)
        return beta, 1 - (1 - beta) ** k

    low, high = 1.0, float(k)
    beta, some = accepted(low)
    if some <= beta:
        return low, some
    for _ in range(60):
        middle = (low + high) / 2
        beta, some = accepted(middle)
        low, high = (low, middle) if some <= middle * beta else (middle, high)
    return high, accepted(high)[1]


def _dropped(draft: Row, token: int) -> Row:
    rest = draft.copy()
    rest[token] = 0
    scheme: Row = rest / rest.sum()
    return scheme
