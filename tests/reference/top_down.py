"""Top-down verification: from the root, each child in turn, down to the first one accepted.

Recursive rejection sampling (SpecInfer, SpecTr, Sequoia, SpecHub: the distribution of the children
tells them apart). A chain is speculative sampling: Leviathan et al. 2023, algorithm 1; Chen et al.
2023.
"""

from collections import Counter

from tests.reference.rows import norm, relu_minus


def top_down(draft):
    """{(kept node path, next token): probability}."""
    distribution = Counter()

    def visit(node, path, mass):
        residual = draft.targets[node]
        for child in draft.children(node):
            token, proposed = draft.tokens[child], draft.distributions[child]
            accept = min(1, residual[token] / proposed[token])
            if accept > 0:
                visit(child, (*path, child), mass * accept)
            mass *= 1 - accept
            if mass == 0:
                return
            residual = norm(relu_minus(residual, proposed))
        for token, chance in enumerate(residual):
            if chance > 0:
                distribution[(path, token)] += mass * chance

    visit(0, (), 1)
    return distribution
