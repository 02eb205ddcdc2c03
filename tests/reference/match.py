"""Match: sample from the target, keep while a child is equal. For trees of one-hot distributions.

In distribution it is the generic step with distributions of certainty: accepting c with
    probability r(c).
"""

from collections import Counter


def match(draft):
    """{(kept node path, next token): probability}."""
    distribution = Counter()

    def visit(node, path, mass):
        by_token = {draft.tokens[child]: child for child in draft.children(node)}
        for token, chance in enumerate(draft.targets[node]):
            if chance > 0 and token in by_token:
                child = by_token[token]
                visit(child, (*path, child), mass * chance)
            elif chance > 0:
                distribution[(path, token)] += mass * chance

    visit(0, (), 1)
    return distribution
