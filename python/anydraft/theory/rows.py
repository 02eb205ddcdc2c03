"""Rows of masses, in float64: what the other modules share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from anydraft.errors import InputError

if TYPE_CHECKING:
    from numpy import float64
    from numpy.typing import ArrayLike, NDArray

    Row = NDArray[float64]

SCHEMES = ("iid", "without_replacement", "spechub", "greedy_k", "one_hot", "kseq")


def remaining(draft: Row) -> Row:
    """1 - draft, [vocab]; the sum of the others at the largest entry."""
    others = 1 - draft
    hub = int(draft.argmax())
    others[hub] = draft[:hub].sum() + draft[hub + 1 :].sum()
    return others


def split(draft: Row, k: int) -> tuple[NDArray[Any], Row | None]:
    """The k most probable tokens (of positive mass), and the distribution of the others, if any."""
    chosen = top(draft, k)
    rest = draft.copy()
    rest[chosen] = 0
    return chosen, rest / rest.sum() if rest.any() else None


def top(draft: Row, k: int) -> NDArray[Any]:
    """Ids of the k largest masses, ties to the lowest id; none of zero mass."""
    import numpy as np

    k = min(k, len(draft))
    if k == 0:
        return np.zeros(0, dtype=np.int64)
    least = np.partition(draft, -k)[-k]
    ids = ((draft >= least) & (draft > 0)).nonzero()[0]
    chosen: NDArray[Any] = ids[(-draft[ids]).argsort(kind="stable")[:k]]
    return chosen


def by_ratio(above: Row, below: Row) -> NDArray[Any]:
    """Ids by above / below, ascending; an entry that is zero in both comes first."""
    import numpy as np

    safe = np.where(below > 0, below, 1.0)
    with np.errstate(over="ignore"):
        ratio = np.where(below > 0, above / safe, np.where(above > 0, np.inf, 0.0))
    return ratio.argsort(kind="stable")


def overlap(target: Row, draft: Row) -> float:
    import numpy as np

    return float(np.minimum(target, draft).sum())


def pair(function: str, target_probs: ArrayLike, draft_probs: ArrayLike) -> tuple[Row, Row]:
    target = distribution_of(function, "target_probs", target_probs)
    draft = distribution_of(function, "draft_probs", draft_probs)
    if len(target) != len(draft):
        raise InputError(
            f"[{function}] expected rows of one vocabulary, got {len(target)} and {len(draft)}"
        )
    return target, draft


def distribution_of(function: str, name: str, probs: ArrayLike) -> Row:
    import numpy as np

    row: Row = np.asarray(probs, dtype=np.float64)
    if row.ndim != 1 or not len(row):
        raise InputError(f"[{function}] expected {name} [vocab], got shape {list(row.shape)}")
    total = float(row.sum())
    if not (np.isfinite(row).all() and row.min() >= 0 and abs(total - 1) <= 1e-3):
        raise InputError(
            f"[{function}] expected {name} of finite masses >= 0 that sum to 1, "
            f"got a least one of {row.min()} and a sum of {total}"
        )
    distribution: Row = row / total
    return distribution


def check_k(function: str, k: int, scheme: str) -> None:
    if scheme not in SCHEMES:
        raise InputError(f"[{function}] expected a scheme of {', '.join(SCHEMES)}, got {scheme!r}")
    if k < 1 or (scheme == "spechub" and k != 2):
        wanted = "k = 2 for scheme spechub" if scheme == "spechub" else "k >= 1"
        raise InputError(f"[{function}] expected {wanted}, got {k}")
