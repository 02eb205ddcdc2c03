"""String-level rejection sampling: exact distributions of whole sessions over its hard
vocabularies.
"""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toys import TableModel, constant

from anydraft import InputError, SamplingParams
from tests.distributions.sessions import (
    FILTERED,
    GREEDY,
    PAIRS,
    PLAIN,
    TREES,
    check,
    largest_difference,
    models,
    play,
    words,
)
from tests.reference import bridges


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize("params", [PLAIN, FILTERED, GREEDY], ids=["plain", "filtered", "greedy"])
@pytest.mark.parametrize("verifier", ["auto", "top_down"])
def test_chains(name, params, verifier):
    options = {} if verifier == "auto" else {"verifier": verifier}
    check(*models(name), params, **options)


@pytest.mark.parametrize("name", ["longer on either side", "duplicates", "spell nothing"])
@pytest.mark.parametrize("options", TREES.values(), ids=TREES)
def test_trees(name, options):
    check(*models(name), FILTERED, **options)


@settings(max_examples=25, deadline=None)
@given(
    target=st.lists(st.text("ab", min_size=2, max_size=3), max_size=2),
    drafter=st.lists(st.text("abc", min_size=1, max_size=4), min_size=1, max_size=5),
    seed=st.integers(0, 1000),
    length=st.integers(0, 3),
)
def test_random_vocabularies(target, drafter, seed, length):
    pair = (
        TableModel(words("a", "b", *target), seed),
        TableModel(words(*drafter, "a", "b"), seed + 1),
    )
    check(*pair, PLAIN, draft_length=length)


# A drafter that says the same everywhere, whose psi is known by hand.
SPELT = {"a": 0.25, "ba": 0.1, "bab": 0.2, "ab": 0.2, "aabb": 0.25}
TARGET_TOKENS = ["a", "b", "aab"]
PSI = bridges.psi(SPELT, TARGET_TOKENS)
INSIDE = [bridges.psi(SPELT, TARGET_TOKENS, (token,)) for token in range(3)]


def by_hand():
    target = constant(words(*TARGET_TOKENS), [0.5, 0.3, 0.2])
    return target, constant(words(*SPELT), list(SPELT.values()))


def restated(change):
    """A `restate` that gives change(node, its token, its distribution) to the verifier."""

    def restate(tokens, _, rows, distributions):
        distributions = np.array(distributions).reshape(max(rows) + 1, -1)
        for node, row in enumerate(rows):
            if row >= 0:
                with np.errstate(divide="ignore"):
                    masses = np.exp(distributions[row])
                    distributions[row] = np.log(change(node, tokens[node], masses / masses.sum()))
        return distributions.ravel().tolist()

    return restate


def inside(token, distribution):
    return np.allclose(distribution, INSIDE[token])


def test_the_stated_distributions_are_psi():
    """Of the first token, and of the second given the first and that the token goes on."""
    seen = set()

    def look(node, token, distribution):
        goes_on = node > 0 and inside(token, distribution)
        assert goes_on or np.allclose(distribution, PSI, atol=1e-6)
        seen.add((node, token if goes_on else None))
        return distribution

    played = play(*by_hand(), SamplingParams(), 3, restate=restated(look))
    assert seen == {(0, None), (1, None), (1, 0), (1, 1), (1, 2)}
    exact = dict(exact_distribution_of_constant([0.5, 0.3, 0.2], 3))
    assert largest_difference(played.distribution, exact) <= 1e-7  # log and exp of the rows above


def exact_distribution_of_constant(masses, tokens):
    for text in itertools.product(range(len(masses)), repeat=tokens):
        yield text, math.prod(masses[token] for token in text)


def psi_of_two(node, token, distribution):
    two = bridges.texts_of(lambda _: list(SPELT.values()), SPELT, lambda drawn: len(drawn) == 2)
    return distribution if node else np.array(bridges.psi(two, TARGET_TOKENS))


def forget_that_it_goes_on(node, token, distribution):
    if not node or token or not inside(token, distribution):
        return distribution
    ends = 0.25 / 0.45  # of what begins with a
    return ends * np.array(PSI) + (1 - ends) * distribution


def overwrite(node, token, distribution):
    """Of b: the last drafter token's mass alone, not that of both."""
    return distribution if node else np.array([PSI[0], SPELT["bab"], PSI[2]])


@pytest.mark.parametrize("wrong", [psi_of_two, forget_that_it_goes_on, overwrite])
def test_wrong_distributions_are_caught(wrong):
    played = play(*by_hand(), SamplingParams(), 3, restate=restated(wrong))
    exact = dict(exact_distribution_of_constant([0.5, 0.3, 0.2], 3))
    assert largest_difference(played.distribution, exact) > 1e-3


def test_a_target_masked_to_what_the_drafter_spells_is_caught():
    target, drafter = by_hand()
    target = constant(words(*TARGET_TOKENS, "bb"), [0.4, 0.2, 0.2, 0.2])
    masked = constant(target.vocabulary, [0.5, 0.25, 0.25, 0.0])
    exact = dict(exact_distribution_of_constant([0.4, 0.2, 0.2, 0.2], 3))
    assert (
        largest_difference(play(target, drafter, SamplingParams(), 3).distribution, exact) <= 1e-7
    )
    assert largest_difference(play(masked, drafter, SamplingParams(), 3).distribution, exact) > 0.05


def test_a_drawn_token_without_mass_is_refused():
    def without(node, token, distribution):
        return distribution if node else np.array([1.0, 0, 0])

    with pytest.raises(InputError, match="mass in its own distribution"):
        play(*by_hand(), SamplingParams(), 3, restate=restated(without))


@pytest.mark.parametrize("name", PAIRS)
def test_accepts_no_less_than_exact_match(name):
    """The same draws, of one drafter token: sum of min(p, psi) against sum of p * psi."""
    for seed in range(4):
        pair = models(name, seed)
        options = {"draft_length": 1, "draft_sampling": SamplingParams()}
        slrs = play(*pair, PLAIN, 2, verifier="top_down", **options)
        slem = play(*pair, PLAIN, 2, bridge="slem", **options)
        assert slrs.accepted >= slem.accepted - 1e-12
