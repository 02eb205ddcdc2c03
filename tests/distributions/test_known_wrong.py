"""Variants known to be lossy, each on a toy where it fails; the right one does not, on the same.

Published: the total variation given for the variant where it was first shown to fail, on toys of
the same size. Every one here loses at least as much.
"""

import math
from collections import Counter
from fractions import Fraction

import pytest

from tests.reference import multipath, schemes, trees
from tests.reference.bridges import psi, texts_of, tli_row
from tests.reference.rows import norm, relu_minus, scaled
from tests.reference.top_down import top_down
from tests.reference.traversal import traversal


def row(*numerators):
    return norm([Fraction(n) for n in numerators])


# ---- The draft is not what its distributions say
# ----------------------------------------------------------
def resorted(probs, k):
    """Drawn without replacement, then tried in the order of their own probability."""
    table = {children: ways for children, *ways in schemes.without_replacement(probs, k)}
    for children, (mass, _) in table.items():
        order = tuple(sorted(children, key=lambda token: (-probs[token], token)))
        yield order, mass, table[order][1]


def filtered(keep):
    """Drawn i.i.d.; a child stays if keep(probs, children, place)."""

    def draw(probs, k):
        for children, mass, of in schemes.row(probs, k):
            kept = [i for i in range(k) if keep(probs, children, i)]
            yield tuple(children[i] for i in kept), mass, [of[i] for i in kept]

    return draw


likely = filtered(lambda probs, children, i: probs[children[i]] >= Fraction(1, 3))
distinct = filtered(lambda _, children, i: children[i] not in children[:i])


def nucleus(probs, k):
    """Drawn from the top 70 %, verified with the raw row."""
    kept, mass = [], 0
    for token in schemes.most_probable(probs, len(probs)):
        if mass < Fraction(7, 10):
            kept.append(token)
            mass += probs[token]
    cut = norm([x if token in kept else x * 0 for token, x in enumerate(probs)])
    for children, chance, _ in schemes.row(cut, k):
        yield children, chance, [probs] * k


@pytest.mark.parametrize(
    ("wrong", "right", "shape", "verifier", "target", "draft", "published"),
    [
        (resorted, schemes.without_replacement, "2", top_down, (0, 2, 3), (2, 0, 3), 0.38),
        (likely, schemes.row, "2", top_down, (1, 1, 3), (1, 1, 3), 0.30),
        (
            likely,
            schemes.row,
            "1",
            top_down,
            (1, 1, 3),
            (1, 1, 3),
            0.20,
        ),  # stop and drop the token
        (distinct, schemes.row, "2", top_down, (0, 2, 3), (3, 0, 2), 0.065),
        (distinct, schemes.row, "2,1", traversal, (0, 2, 2), (3, 0, 1), 0.037),
        (nucleus, schemes.row, "1", top_down, (0, 1, 4), (1, 1, 3), 0.20),
    ],
    ids=["re-sorted", "pruned", "dropped", "duplicates", "duplicates, traversal", "top-p"],
)
def test_drafts_that_are_not_what_their_distributions_say(
    wrong, right, shape, verifier, target, draft, published
):
    grow, length = trees.static(trees.shape(shape)), len(shape.split(",")) + 1

    def lost(draw):
        return trees.loss(
            verifier, grow, lambda _: row(*target), lambda _, k: list(draw(row(*draft), k)), length
        )

    assert lost(right) == 0
    assert lost(wrong) >= Fraction(str(published))


# ---- Traversal without its rules -----------------------------------------------------------------
def careless_traversal(draft):
    """The recursion in floats, nothing guarded: 0/0 is NaN, and min(1, NaN) accepts."""
    distribution = {}

    def divide(a, b):
        return a / b if b else math.nan

    def verify(node, path, weight, mass):
        residual = draft.targets[node]
        for child in draft.children(node):
            token, proposed = draft.tokens[child], draft.distributions[child]
            ratio = weight * residual[token] / proposed[token]
            mass = verify(child, (*path, child), ratio if ratio < 1 else 1.0, mass)
            rest = relu_minus(scaled(weight, residual), proposed)
            total = sum(rest)
            residual = [divide(x, total) for x in rest]
            weight = divide(total, total + (1 - weight))
        accept = 1.0 if math.isnan(weight) else weight
        emitted = draft.targets[node] if math.isnan(residual[0]) else residual
        for token, chance in enumerate(emitted):
            key = path, token
            distribution[key] = distribution.get(key, 0.0) + mass * accept * chance
        return mass * (1 - accept)

    verify(0, (), 1.0, 1.0)
    return distribution


def test_traversal_without_its_rules_for_zeros():
    target, draft = [0.99, 0.01], [0.02, 0.98]

    def lost(verifier):
        return trees.loss(
            verifier,
            trees.static((-1, 0, 1, 1)),
            lambda _: target,
            lambda _, k: schemes.row(draft, k),
            3,
        )

    assert lost(traversal) < 1e-15
    assert lost(careless_traversal) >= 0.9


# ---- Paths and bridges ---------------------------------------------------------------------------
def test_paths_merged_without_the_drafters_state():
    """Two drafter ids carry token 0; after them the drafter goes on differently."""
    first, then = row(2, 2, 0), {0: row(0, 4, 0), 1: row(0, 1, 3)}
    by_depth = [row(4, 0), row(2, 2), row(0, 4)]

    def target(tokens):
        return by_depth[len(tokens)]

    def draft(ids):
        return then[ids[0]] if ids else first

    world = multipath.models(target, draft, (0, 0, 1))

    def by_tokens(world, path, chosen, depth):
        return world.token_of[path[depth]] == world.token_of[chosen[depth]]

    def lost(together):
        distribution = multipath.round_distribution(world, 2, 2, together=together)
        return trees.distance(
            trees.output_distribution(distribution, target, 3), trees.target_distribution(target, 3)
        )

    assert lost(multipath.same_state) == 0
    assert lost(by_tokens) >= 0.033


def bridge_loss(target, drawn, judged):
    """Drawn from one distribution, judged by another."""
    ways = [((token,), drawn[token], [judged]) for token in schemes.support(drawn)]
    return trees.loss(
        top_down, trees.static(trees.shape("1")), lambda _: target, lambda *_: ways, 2
    )


def test_a_target_masked_to_the_intersection():
    target, drawn = [Fraction(n, 10) for n in (4, 3, 3)], [Fraction(1, 2), Fraction(1, 2), 0]
    masked = norm([target[0], target[1], Fraction(0)])
    distribution = trees.round_distribution(
        top_down,
        trees.drafts(
            trees.static(trees.shape("1")),
            lambda _: masked,
            lambda _, k: schemes.row(drawn, k),
        ),
    )
    first = Counter()
    for tokens, mass in distribution.items():
        first[tokens[:1]] += mass
    assert trees.distance(first, {(token,): mass for token, mass in enumerate(target)}) >= 0.30
    assert bridge_loss(target, drawn, drawn) == 0


def test_duplicates_overwritten_instead_of_summed():
    target, draft = [Fraction(1, 2)] * 2, [Fraction(n, 10) for n in (4, 3, 3)]
    summed = tli_row(draft, (0, 1, 0), 2)
    overwritten = norm([draft[2], draft[1]])  # id 2 came last
    assert bridge_loss(target, summed, summed) == 0
    assert bridge_loss(target, summed, overwritten) >= 0.15


def test_psi_of_another_stop_rule():
    """One character is drafted, and judged by the distribution of two."""
    tokens, draft, target = ["a", "b", "aa"], row(3, 2), row(1, 2, 2)
    one, two = (
        psi(texts_of(lambda _: draft, "ab", lambda words, n=n: len(words) == n), tokens)
        for n in (1, 2)
    )
    assert bridge_loss(target, one, one) == 0
    assert bridge_loss(target, two, two) == 0
    assert bridge_loss(target, one, two) >= 0.29


def test_an_empty_translation_is_either_conditioned_on_or_a_rejection():
    """With mass 2/5 on ids without a counterpart: mixing the two conventions is lossy."""
    target, psi_row = [Fraction(1, 2)] * 2, [Fraction(2, 5), Fraction(1, 5)]
    empty = 1 - sum(psi_row)
    conditional = norm(psi_row)

    def lost(judged, rejected):
        """The distribution of the first token: what is emitted where nothing was drawn is the
        question.
        """
        residual = norm(relu_minus(target, judged))
        distribution = scaled(empty, residual if rejected else target)
        for token in range(2):
            accept = min(1, target[token] / judged[token])
            distribution[token] += psi_row[token] * accept
            none = psi_row[token] * (1 - accept)
            distribution = [a + none * b for a, b in zip(distribution, residual, strict=True)]
        return sum(abs(a - b) for a, b in zip(distribution, target, strict=True)) / 2

    assert lost(conditional, rejected=False) == 0
    assert lost(psi_row, rejected=True) == 0
    assert lost(psi_row, rejected=False) > 0
    assert lost(conditional, rejected=True) >= 0.18
