"""K-SEQ (SpecTr, arXiv 2310.15141): k i.i.d. siblings, each accepted with min(1, p / (rho q)).

A rule of its own, one level at a time: all siblings are judged against the same target
    distribution.
"""

from collections import Counter
from fractions import Fraction

from tests.reference.rows import overlap, scaled


def beta(target, proposed, rho):
    """The probability with which one draft is accepted."""
    return overlap(proposed, scaled(1 / rho, target))


def find_rho(target, proposed, k, *, halvings=8):
    """The upper end of a bisection for 1 - (1 - beta)^k = rho beta on [1, k].

    Any rho at or above the root is exactly lossless; below it the residual would be negative.
    """
    low, high = Fraction(1), Fraction(k)
    if enough(target, proposed, k, low):
        return low
    for _ in range(halvings):
        middle = (low + high) / 2
        if enough(target, proposed, k, middle):
            high = middle
        else:
            low = middle
    return high


def enough(target, proposed, k, rho):
    accepted = beta(target, proposed, rho)
    return 1 - (1 - accepted) ** k <= rho * accepted


def residual(target, proposed, k, rho):
    """The distribution of the token emitted where none of the k is accepted, or None if that never
    is.
    """
    accepted = beta(target, proposed, rho)
    if accepted == 0:
        return target
    none = (1 - accepted) ** k
    if none == 0:
        return None
    share = (1 - none) / accepted
    taken = [min(q, p / rho) * share for p, q in zip(target, proposed, strict=True)]
    row = [(p - mass) / none for p, mass in zip(target, taken, strict=True)]
    assert min(row) >= 0 and sum(row) == 1
    return row


def kseq(draft, *, rho=None):
    """{(kept node path, next token): probability}. rho: fixed, or None for the best one."""
    distribution = Counter()

    def visit(node, path, mass):
        target, children = draft.targets[node], draft.children(node)
        emitted = target
        if children:
            proposed, k = draft.distributions[children[0]], len(children)
            factor = rho or find_rho(target, proposed, k)
            emitted = residual(target, proposed, k, factor)
            for child in children:
                token = draft.tokens[child]
                accept = min(1, target[token] / (factor * proposed[token]))
                if accept > 0:
                    visit(child, (*path, child), mass * accept)
                mass *= 1 - accept
        for token, chance in enumerate(emitted or []):
            if mass * chance > 0:
                distribution[(path, token)] += mass * chance

    visit(0, (), 1)
    return distribution
