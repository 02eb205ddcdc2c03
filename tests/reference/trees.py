"""Draft trees, every one that can be drawn with its probability, and the output distribution of a
verifier.

A verifier is a function Draft -> {(kept node path, next token): probability}. It is lossless when
output_distribution(...) == target_distribution(...), exactly.
"""

from collections import Counter
from dataclasses import dataclass, replace
from fractions import Fraction


@dataclass(frozen=True)
class Draft:
    """Node 0 is the root, the last committed token; a parent comes before its children.

    tokens[0] and parents[0] are -1; distributions[node]: the distribution the node's token was
    drawn from, given its earlier siblings, None for the root. targets[node]: the target's
    distribution after the node.
    """

    tokens: tuple = (-1,)
    parents: tuple = (-1,)
    distributions: tuple = (None,)
    targets: tuple = ()
    prefixes: tuple = ((),)
    expanded: tuple = ()

    def children(self, node):
        return [child for child, parent in enumerate(self.parents) if parent == node]

    def with_children(self, node, children, distributions):
        prefix = self.prefixes[node]
        return replace(
            self,
            tokens=self.tokens + tuple(children),
            parents=self.parents + (node,) * len(children),
            distributions=self.distributions + tuple(distributions),
            prefixes=self.prefixes + tuple((*prefix, token) for token in children),
            expanded=(*self.expanded, node),
        )


def shape(text):
    """Parents of a full tree: "2x2" and "2,2" have two children under every node of two levels."""
    parents, level = [-1], [0]
    for width in map(int, text.replace("x", ",").split(",")):
        first = len(parents)
        parents += [node for node in level for _ in range(width)]
        level = list(range(first, len(parents)))
    return tuple(parents)


def static(parents):
    """Grows the tree of this shape. Where fewer children are drawn, the last subtrees are gone."""
    widths = [parents.count(node) for node in range(len(parents))]

    def grow(draft):
        slots = [0]  # the place of each drawn node in the shape
        for node in draft.expanded:
            drawn = draft.parents.count(node)
            places = [i for i, parent in enumerate(parents) if parent == slots[node]]
            slots += places[:drawn]
        for node, slot in enumerate(slots):
            if widths[slot] and node not in draft.expanded:
                return node, widths[slot]
        return None

    return grow


def best_first(budget, width):
    """Grows under the drawn node of the highest path probability, within a budget of nodes."""

    def grow(draft):
        if len(draft.tokens) - 1 + width > budget:
            return None
        open_nodes = [v for v in range(len(draft.tokens)) if v not in draft.expanded]
        return max(open_nodes, key=lambda node: (path_mass(draft, node), -node)), width

    return grow


def path_mass(draft, node):
    mass = 1
    while node:
        mass *= draft.distributions[node][draft.tokens[node]]
        node = draft.parents[node]
    return mass


def drafts(grow, target, draw):
    """Every draft with its probability.

    grow(draft): the (node, number of children) to draw next, from what was drawn so far, or None.
    target(prefix): the target's distribution. draw(prefix, k): the ways to draw children, as in
    distributions.py.
    """
    memo = {}

    def go(draft, mass):
        step = grow(draft)
        if step is None:
            targets = tuple(target(prefix) for prefix in draft.prefixes)
            yield replace(draft, targets=targets), mass
            return
        node, k = step
        key = draft.prefixes[node], k
        if key not in memo:
            memo[key] = draw(*key)
        for children, chance, distributions in memo[key]:
            yield from go(draft.with_children(node, children, distributions), mass * chance)

    yield from go(Draft(), Fraction(1))


def joint_distribution(verifier, drawn):
    """{(kept node path, next token): probability}, over all drafts of drafts(...)."""
    distribution = Counter()
    for draft, mass in drawn:
        for outcome, chance in verifier(draft).items():
            distribution[outcome] += mass * chance
    return distribution


def round_distribution(verifier, drawn):
    """The distribution of the tokens a round emits: those accepted, then one more."""
    distribution = Counter()
    for draft, mass in drawn:
        for (path, token), chance in verifier(draft).items():
            distribution[(*(draft.tokens[node] for node in path), token)] += mass * chance
    return distribution


def output_distribution(rounds, target, length):
    """The distribution of the first `length` tokens, those after the round drawn from the
    target.
    """
    distribution = Counter()
    for tokens, mass in rounds.items():
        assert len(tokens) <= length
        for rest, chance in continuations(target, tokens, length).items():
            distribution[rest] += mass * chance
    return +distribution


def target_distribution(target, length):
    return continuations(target, (), length)


def continuations(target, prefix, length):
    distribution = Counter({prefix: Fraction(1)})
    for _ in range(length - len(prefix)):
        distribution = Counter(
            {
                (*tokens, token): mass * chance
                for tokens, mass in distribution.items()
                for token, chance in enumerate(target(tokens))
                if chance
            }
        )
    return distribution


def expected_accepted(rounds):
    return sum(mass * (len(tokens) - 1) for tokens, mass in rounds.items())


def distance(distribution, other):
    """Total variation of two distributions of token tuples."""
    return (
        sum(
            abs(distribution[tokens] - other[tokens])
            for tokens in distribution.keys() | other.keys()
        )
        / 2
    )


def loss(verifier, grow, target, draw, length):
    """Total variation of a verifier's output distribution and the target's: 0, exactly, if it is
    lossless.
    """
    rounds = round_distribution(verifier, drafts(grow, target, draw))
    return distance(
        output_distribution(rounds, target, length), target_distribution(target, length)
    )
