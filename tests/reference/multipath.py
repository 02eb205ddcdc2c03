"""Multi-path block verification by mixed selection: one of K i.i.d. paths, then block verification.

At a node with n active paths the tokens are ordered by a rank. With probability `share` the token
of the lowest-numbered active path is taken, else the drawn token of the highest rank. The
distribution of what is taken, s = share * q + (1 - share) * s_highest, stands in place of q in
block verification. share = 0 is the greedy case (greedy multi-path block verification, arXiv
2602.16961).

Paths are drafter ids; `token_of` maps them to target tokens. Paths stay together while they agree
on the ids, not only on the tokens: the drafter's next distribution depends on them.
"""

import itertools
import math
from collections import Counter
from dataclasses import dataclass, replace
from fractions import Fraction

from tests.reference.block import block_of
from tests.reference.rows import overlap
from tests.reference.trees import Draft


@dataclass(frozen=True)
class Models:
    """target(tokens) and draft(ids): distributions after a prefix, over tokens and over drafter
    ids.
    """

    target: object
    draft: object
    token_of: tuple

    def tokens(self, ids):
        return tuple(self.token_of[i] for i in ids)

    def proposed(self, ids):
        """The distribution of the next token, by target token: ids of one token add up."""
        row = [0] * len(self.target(self.tokens(ids)))
        for i, mass in enumerate(self.draft(ids)):
            row[self.token_of[i]] += mass
        return row


def models(target, draft, token_of=None):
    return Models(target, draft, tuple(token_of or range(len(draft(())))))


def merged_tree(world, paths):
    """The paths as a tree whose siblings are i.i.d.: a token drawn twice stays twice.

    All paths that share a node's ids go on under the first of the twins.
    """
    draft, open_nodes = Draft(), [(0, list(range(len(paths))))]
    while open_nodes:
        node, active = open_nodes.pop(0)
        depth = len(draft.prefixes[node])
        if depth == len(paths[0]):
            continue
        children = [paths[i][depth] for i in active]
        proposed = world.proposed(draft.prefixes[node])
        first = len(draft.tokens)
        draft = draft.with_children(node, children, [proposed] * len(children))
        for place, token in enumerate(children):
            if token not in children[:place]:
                sharing = [i for i in active if paths[i][depth] == token]
                open_nodes.append((first + place, sharing))
    return replace(draft, targets=tuple(world.target(prefix) for prefix in draft.prefixes))


def path_draws(draft, count, length):
    """Every way to draw `count` i.i.d. paths, with its probability."""
    one = [((), Fraction(1))]
    for _ in range(length):
        one = [
            ((*ids, i), mass * chance)
            for ids, mass in one
            for i, chance in enumerate(draft(ids))
            if chance
        ]
    for drawn in itertools.product(one, repeat=count):
        yield [ids for ids, _ in drawn], math.prod(mass for _, mass in drawn)


def by_ratio(target, proposed):
    """Ranks by p/q ascending, ties by id: every token a bucket of its own."""
    return [
        (p / q if q else 0, token)
        for token, (p, q) in enumerate(zip(target, proposed, strict=True))
    ]


def by_bucket(target, proposed):
    """Buckets of log(p/q), width 1/4, clamped where a mass is zero."""
    return [
        math.floor(4 * math.log(p / q)) if p and q else -1000
        for p, q in zip(target, proposed, strict=True)
    ]


def distribution_of_highest(proposed, ranks, n):
    """The distribution of the first token, by path number, in the highest bucket that n draws
    reach.
    """
    row, below = [0] * len(proposed), 0
    buckets = {}
    for token, rank in enumerate(ranks):
        buckets.setdefault(rank, []).append(token)
    for _, members in sorted(buckets.items()):
        mass = sum(proposed[token] for token in members)
        if mass == 0:
            continue
        chance = (below + mass) ** n - below**n
        below += mass
        for token in members:
            row[token] = proposed[token] / mass * chance
    return row


def best_share(target, proposed, highest):
    """The share that maximises the overlap of target and mixture: concave, piecewise linear."""
    kinks = {0, 1}
    for p, q, s in zip(target, proposed, highest, strict=True):
        if q != s and 0 < (p - s) / (q - s) < 1:
            kinks.add((p - s) / (q - s))
    kinks = sorted(kinks)

    def worth(i):
        return overlap(target, mixed(kinks[i], proposed, highest))

    low, high = 0, len(kinks) - 1
    while low < high:
        middle = (low + high) // 2
        if worth(middle) < worth(middle + 1):
            low = middle + 1
        else:
            high = middle
    return Fraction(kinks[low])


def mixed(share, proposed, highest):
    return [share * q + (1 - share) * s for q, s in zip(proposed, highest, strict=True)]


def selections(world, paths, *, share, ranks, together):
    """Every selected path: (ids, distributions of its tokens as selected, probability)."""

    def go(ids, active, distributions, mass):
        depth = len(ids)
        if depth == len(paths[0]):
            yield ids, distributions, mass
            return
        target, proposed = world.target(world.tokens(ids)), world.proposed(ids)
        order = ranks(target, proposed)
        highest = distribution_of_highest(proposed, order, len(active))
        part = best_share(target, proposed, highest) if share is None else share
        distribution = mixed(part, proposed, highest)
        rank_of = {i: order[world.token_of[paths[i][depth]]] for i in active}
        top = max(rank_of.values())
        first_of_top = next(i for i in active if rank_of[i] == top)
        for chosen, chance in ((active[0], part), (first_of_top, 1 - part)):
            if chance == 0:
                continue
            kept = [i for i in active if together(world, paths[i], paths[chosen], depth)]
            yield from go(
                (*ids, paths[chosen][depth]), kept, [*distributions, distribution], mass * chance
            )

    yield from go((), list(range(len(paths))), [], 1)


def same_state(_world, path, chosen, depth):
    return path[depth] == chosen[depth]


def mixed_selection(world, paths, *, share=None, ranks=by_ratio, together=same_state):
    """{(kept tokens, next token): probability}. share: fixed, or None for the best at each node."""
    distribution = Counter()
    for ids, distributions, mass in selections(
        world, paths, share=share, ranks=ranks, together=together
    ):
        tokens = world.tokens(ids)
        targets = [world.target(tokens[:i]) for i in range(len(tokens) + 1)]
        for outcome, chance in block_of(tokens, targets, distributions, tokens).items():
            distribution[outcome] += mass * chance
    return distribution


def round_distribution(world, count, length, **options):
    """The distribution of the tokens a round emits, over all draws of the paths."""
    distribution = Counter()
    for paths, mass in path_draws(world.draft, count, length):
        for (kept, token), chance in mixed_selection(world, paths, **options).items():
            distribution[(*kept, token)] += mass * chance
    return distribution
