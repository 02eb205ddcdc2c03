"""Speculative sampling of a chain in exact fractions: min(1, p/q), else norm(relu(p - q)).

Leviathan et al. 2023, algorithm 1; Chen et al. 2023. Laws are lists of Fractions by token.
"""

from collections import Counter
from fractions import Fraction


def one_hot(token, vocab):
    return [Fraction(int(i == token)) for i in range(vocab)]


def block_law(target, draft, length, *, deterministic=False, prefix=()):
    """Law of a round's tokens (accepted, then one), as a Counter of tuples.

    target(prefix), draft(prefix): the laws after a prefix. deterministic: the drafted token,
    however it was drawn, is verified as if it had been certain.
    """
    p = target(prefix)
    if length == 0:
        return Counter({(token,): mass for token, mass in enumerate(p) if mass})
    law = Counter()
    for token, drawn in enumerate(draft(prefix)):
        if drawn == 0:
            continue
        q = one_hot(token, len(p)) if deterministic else draft(prefix)
        accept = min(Fraction(1), p[token] / q[token])
        if accept:
            rest = block_law(
                target, draft, length - 1, deterministic=deterministic, prefix=(*prefix, token)
            )
            for tokens, mass in rest.items():
                law[(token, *tokens)] += drawn * accept * mass
        if accept < 1:
            residual = [max(a - b, Fraction(0)) for a, b in zip(p, q, strict=True)]
            total = sum(residual)
            for other, mass in enumerate(residual):
                if mass:
                    law[(other,)] += drawn * (1 - accept) * mass / total
    return law
