"""Draft distributions: which children are proposed at a node, and the distribution each of them
came from.

Each function returns every way the draw can go, as (children in verification order, probability,
distributions), where distributions[j] is the distribution of child j given the children before it.
A distribution of a child may depend on the earlier siblings and on nothing else.

    row                  i.i.d. with replacement (SpecTr, RRS)
    without_replacement  a drawn token is gone for its later siblings (SpecInfer, Sequoia)
    greedy_k             one child from the row without its k - 1 most probable, then those
    hub                  greedy_k with k = 2 (SpecHub)
    one_hot              the k most probable, for certain
    declared_certain     one child, drawn from the row and then called certain (SLEM)
    sparse               i.i.d. from listed ids and masses
    custom               child j from a row of its own
"""

from fractions import Fraction

from tests.reference.rows import delta, norm, without


def custom(rows):
    """Child j drawn from rows[j], whatever its siblings are."""
    ways = [((), Fraction(1), [])]
    for row in rows:
        ways = [
            ((*children, token), mass * row[token], [*schemes, row])
            for children, mass, schemes in ways
            for token in support(row)
        ]
    return ways


def row(probs, k):
    return custom([probs] * k)


def sparse(ids, masses, vocab, k):
    """The masses of an id that is listed twice add up."""
    probs = [masses[0] * 0] * vocab
    for token, mass in zip(ids, masses, strict=True):
        probs[token] += mass
    return row(norm(probs), k)


def without_replacement(probs, k):
    """Fewer than k children where the support has fewer than k tokens."""
    ways = [((), Fraction(1), [])]
    for _ in range(min(k, len(support(probs)))):
        longer = []
        for children, mass, schemes in ways:
            scheme = norm(without(probs, children))
            longer += [
                ((*children, t), mass * scheme[t], [*schemes, scheme]) for t in support(scheme)
            ]
        ways = longer
    return ways


def hub(probs, k=2):
    """(i, a): i from the row without its argmax a, then a for certain. A one-hot row: a alone."""
    assert k == 2, "the hub distribution is a distribution of two children"
    return greedy_k(probs, 2)


def greedy_k(probs, k):
    """Where the support has fewer than k tokens: the support, each for certain."""
    top = most_probable(probs, k - 1)
    certain = [delta(token, len(probs)) for token in top]
    rest = without(probs, top)
    if not any(rest):
        return [(tuple(top), Fraction(1), certain)]
    scheme = norm(rest)
    return [((token, *top), scheme[token], [scheme, *certain]) for token in support(scheme)]


def one_hot(probs, k):
    """The k most probable tokens (ties to the lowest id), for certain."""
    top = most_probable(probs, k)
    return [(tuple(top), Fraction(1), [delta(token, len(probs)) for token in top])]


def declared_certain(probs, k=1):
    assert k == 1, "two children called certain could be the same token"
    return [((token,), probs[token], [delta(token, len(probs))]) for token in support(probs)]


def most_probable(probs, k):
    """At most k tokens, none of zero mass, most probable first, ties to the lowest id."""
    return sorted(support(probs), key=lambda token: (-probs[token], token))[:k]


def support(probs):
    return [token for token, mass in enumerate(probs) if mass > 0]


SCHEMES = {
    "iid": row,
    "without_replacement": without_replacement,
    "spechub": hub,
    "greedy_k": greedy_k,
    "one_hot": one_hot,
}
