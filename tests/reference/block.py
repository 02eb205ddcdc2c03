"""Block verification of a chain (arXiv 2403.10444), in the paper's own form: longest length first.

length i is kept if its own coin falls below h_i and no longer one's did.
"""

from collections import Counter

from tests.reference.rows import norm, relu_minus, scaled


def block(draft):
    """{(kept node path, next token): probability}."""
    chain = path_of(draft)
    laws = [draft.laws[node] for node in chain]
    return block_of(
        [draft.tokens[node] for node in chain], [draft.targets[v] for v in (0, *chain)], laws, chain
    )


def block_of(tokens, targets, laws, path):
    """tokens, laws: [length]; targets: [length + 1], before each token and after the last."""
    weights = [1]
    for token, target, law in zip(tokens, targets, laws, strict=False):
        weights.append(min(1, weights[-1] * target[token] / law[token]))
    law, mass = Counter(), 1
    for i in range(len(tokens), -1, -1):
        chance, emitted = step(i, weights, targets, laws)
        for token, share in enumerate(emitted):
            if mass * chance * share > 0:
                law[(tuple(path[:i]), token)] += mass * chance * share
        mass *= 1 - chance
    return law


def step(i, weights, targets, laws):
    """h_i, and the law of the token emitted after length i."""
    weight, target = weights[i], targets[i]
    if i == len(laws):
        return weight, target
    rest = relu_minus(scaled(weight, target), laws[i])
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
