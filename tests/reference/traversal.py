"""Traversal verification (arXiv 2505.12398): from the leaves to the root, in two forms.

A node is verified with a weight, the probability with which it and its ancestors ought to be
accepted: that is exactly how often it, or something below it, is.
"""

from collections import Counter

from tests.reference.rows import relu_minus, scaled


def traversal(draft):
    """{(kept node path, next token): probability}: the paper's recursion on (M, w)."""
    distribution = Counter()

    def verify(node, path, weight, mass):
        """Adds what is accepted at or below the node; returns the mass that is rejected."""
        if weight == 0:
            return mass
        residual = draft.targets[node]
        for child in draft.children(node):
            token, proposed = draft.tokens[child], draft.distributions[child]
            child_weight = min(1, weight * residual[token] / proposed[token])
            mass = verify(child, (*path, child), child_weight, mass)
            rest = relu_minus(scaled(weight, residual), proposed)
            total = sum(rest)
            if total == 0:
                if weight < 1:
                    return mass
                continue  # rounding alone leads here: keep the residual and the weight
            residual = scaled(1 / total, rest)
            weight = total / (total + (1 - weight))
        emit(path, residual, mass * weight)
        return mass * (1 - weight)

    def emit(path, row, mass):
        for token, chance in enumerate(row):
            if chance > 0 and mass > 0:
                distribution[(path, token)] += mass * chance

    verify(0, (), 1, 1)
    return distribution


def traversal_by_masses(draft):
    """The same distribution from unnormalised masses U and one scalar Z: no weight is ever divided
    out.
    """
    distribution = Counter()

    def verify(node, path, weight, mass):
        if weight == 0:
            return mass
        masses, scale = scaled(weight, draft.targets[node]), 1
        for child in draft.children(node):
            token, proposed = draft.tokens[child], draft.distributions[child]
            child_weight = min(1, masses[token] / (scale * proposed[token]))
            mass = verify(child, (*path, child), child_weight, mass)
            rest = relu_minus(masses, scaled(scale, proposed))
            if not any(rest):
                if weight < 1:
                    return mass
                continue
            masses, scale = rest, sum(rest) + (1 - weight)
        for token, chance in enumerate(masses):
            if chance > 0 and mass > 0:
                distribution[(path, token)] += mass * chance / scale
        return mass * (1 - sum(masses) / scale)

    verify(0, (), 1, 1)
    return distribution
