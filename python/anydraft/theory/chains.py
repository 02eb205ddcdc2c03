"""Chains of drafts: expected tokens, walltime and operations (Leviathan et al. 2023)."""

from __future__ import annotations

from collections.abc import Callable

from anydraft.errors import InputError


def expected_tokens(alpha: float, draft_length: int) -> float:
    """Tokens a round emits on average: (1 - alpha^(draft_length + 1)) / (1 - alpha).

    Leviathan et al., equation 1: every drafted token is accepted with probability alpha,
    independently; draft_length + 1 at alpha = 1.

    Raises:
        InputError: alpha outside [0, 1], or a negative draft length.

    >>> round(expected_tokens(0.8, 5), 2)
    3.69
    """
    _check_chain("expected_tokens", alpha, draft_length)
    return sum(alpha**i for i in range(draft_length + 1))


def walltime_improvement(
    alpha: float, draft_length: int, cost_ratio: float, verify_cost: float | None = None
) -> float:
    """Expected speed relative to plain decoding (Leviathan et al., theorem 3.8).

    Args:
        cost_ratio: one step of the drafter, in target steps (their c).
        verify_cost: one call of the target on draft_length + 1 tokens, in target steps, as
            measured; None: 1, as on a device that is bound by memory.

    Raises:
        InputError: alpha outside [0, 1], or a negative length or cost.

    >>> round(walltime_improvement(0.75, 7, 0.02), 1)
    3.2
    """
    _check_chain("walltime_improvement", alpha, draft_length)
    verify = 1.0 if verify_cost is None else verify_cost
    if not (cost_ratio >= 0 and verify > 0):
        raise InputError(
            "[walltime_improvement] expected cost_ratio >= 0 and verify_cost > 0, "
            f"got {cost_ratio} and {verify_cost}"
        )
    return expected_tokens(alpha, draft_length) / (draft_length * cost_ratio + verify)


def operations_factor(alpha: float, draft_length: int, operations_ratio: float = 0.0) -> float:
    """Arithmetic operations per token relative to plain decoding (Leviathan et al., theorem 3.11).

    Args:
        operations_ratio: operations of one drafter step over those of one target step.

    Raises:
        InputError: alpha outside [0, 1], or a negative length or ratio.

    >>> round(operations_factor(0.8, 5), 2)
    1.63
    """
    _check_chain("operations_factor", alpha, draft_length)
    if not operations_ratio >= 0:
        raise InputError(
            f"[operations_factor] expected operations_ratio >= 0, got {operations_ratio}"
        )
    spent = draft_length * operations_ratio + draft_length + 1
    return spent / expected_tokens(alpha, draft_length)


def best_draft_length(
    alpha: float,
    cost_ratio: float,
    verify_cost: Callable[[int], float] | None = None,
    *,
    longest: int = 32,
) -> int:
    """The draft length of the highest `walltime_improvement`; 0: plain decoding is faster.

    Args:
        verify_cost: draft length -> cost of the target's call, in target steps; None: always 1.
        longest: the longest length to consider.

    Raises:
        InputError: as walltime_improvement.

    >>> best_draft_length(0.8, 0.05), best_draft_length(0.3, 0.5)
    (8, 0)
    >>> best_draft_length(0.8, 0.05, lambda length: 1 + 0.2 * length)
    3
    """

    def speed(length: int) -> float:
        cost = verify_cost(length) if verify_cost and length else None
        return walltime_improvement(alpha, length, cost_ratio, cost)

    return max(range(longest + 1), key=speed)  # the shortest of equals


def _check_chain(function: str, alpha: float, draft_length: int) -> None:
    if not 0 <= alpha <= 1 or draft_length < 0:
        raise InputError(
            f"[{function}] expected 0 <= alpha <= 1 and draft_length >= 0, "
            f"got {alpha} and {draft_length}"
        )
