"""Block verification of a chain (arXiv 2403.10444), in the paper's own form: longest length first.

length i is kept if its own uniform falls below h_i and no longer one's did.
"""

from collections import Counter

from tests.reference.rows import norm, relu_minus, scaled


def block(draft):
    """{(kept node path, next token): probability}."""
    chain = path_of(draft)
    distributions = [draft.distributions[node] for node in chain]
    return block_of(
        [draft.tokens[node] for node in chain],
        [draft.targets[v] for v in (0, *chain)],
        distributions,
        chain,
    )


def block_of(tokens, targets, distributions, path):
    """tokens, distributions: [length]; targets: [length + 1], before each token and after the
    last.
    """
    weights = [1]
    for token, target, distribution in zip(tokens, targets, distributions, strict=False):
        weights.append(min(1, weights[-1] * target[token] / distribution[token]))
    distribution, mass = Counter(), 1
    for i in range(len(tokens), -1, -1):
        chance, emitted = step(i, weights, targets, distributions)
        for token, share in enumerate(emitted):
            if mass * chance * share > 0:
                distribution[(tuple(path[:i]), token)] += mass * chance * share
        mass *= 1 - chance
    return distribution


def step(i, weights, targets, distributions):
    """h_i, and the distribution of the token emitted after length i."""
    weight, target = weights[i], targets[i]
    if i == len(distributions):
        return weight, target
    rest = relu_minus(scaled(weight, target), distributions[i])
    total = sum(rest)
    if total == 0:
        return (1, target) if weight == 1 else (0, target)
    return total / (total + (1 - weight)), norm(rest)


def path_of(draft):
    """The nodes of a chain, root left out."""
    path, children = [], draft.children(0)
    while children:
        (child,) = children
        path.append(child)
        children = draft.children(child)
    return path
