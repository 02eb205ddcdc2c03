"""The exact output law of the shipped chain verification, by following every branch of it."""

import itertools
from collections import Counter
from fractions import Fraction

import numpy as np
import pytest

from anydraft import SamplingParams
from anydraft._core import testing
from tests.reference import laws as draft_laws
from tests.reference import trees
from tests.reference.top_down import top_down

GREEDY = SamplingParams(temperature=0)


def prefixes(vocab, length):
    return sum(vocab**i for i in range(length + 1))


def row_of(prefix, vocab):
    row = 0
    for token in prefix:
        row = row * vocab + 1 + token
    return row


def joint_law(outcomes, target, vocab, length):
    """Law of the first length + 1 tokens: the round's tokens, then the target's own."""
    joint = np.zeros((vocab,) * (length + 1))
    for weight, emitted in outcomes:
        for rest in itertools.product(range(vocab), repeat=length + 1 - len(emitted)):
            tokens = tuple(emitted) + rest
            mass = weight
            for i in range(len(emitted), length + 1):
                mass *= target[row_of(tokens[:i], vocab), tokens[i]]
            joint[tokens] += mass
    return joint


def target_law(target, vocab, length):
    joint = np.ones((vocab,) * (length + 1))
    for tokens in itertools.product(range(vocab), repeat=length + 1):
        for i, token in enumerate(tokens):
            joint[tokens] *= target[row_of(tokens[:i], vocab), token]
    return joint


def check(target, draft, length, *, params, draft_params=None, one_hot=False, verifier="top_down"):
    target, draft = target.astype(np.float32), draft.astype(np.float32)
    outcomes = testing.enumerate_chain(
        target, draft, length, one_hot, params, draft_params or params, verifier
    )
    assert abs(sum(weight for weight, _ in outcomes) - 1) <= 1e-12
    law = np.array(testing.law_masses(target, params))
    vocab = target.shape[1]
    error = np.abs(joint_law(outcomes, law, vocab, length) - target_law(law, vocab, length)).max()
    assert error <= 1e-12
    return outcomes


def random_rows(seed, vocab, length, spread):
    random = np.random.default_rng(seed)
    return spread * random.standard_normal((2, prefixes(vocab, length), vocab))


def adversarial_rows(vocab, length):
    """Pairs (target, draft) of one row used at every prefix."""
    rows = prefixes(vocab, length)
    tenth = np.float32(0.1)
    ramp = np.arange(vocab, dtype=np.float64)
    masked = np.where(ramp == 0, -np.inf, ramp)
    smallest = np.where(ramp == 0, np.finfo(np.float32).min, 0.0)
    pairs = {
        "equal": (ramp, ramp),
        "ties": (np.zeros(vocab), np.zeros(vocab)),
        "below by rounding": (np.full(vocab, tenth), np.full(vocab, np.nextafter(tenth, 1))),
        "disjoint": (np.where(ramp < 1, 0.0, -np.inf), np.where(ramp < 1, -np.inf, 0.0)),
        "masked token drafted": (masked, -ramp),
        "finfo.min as a mask": (smallest, ramp),
        "peaked, 1 - q[a] = 0 in float32": (ramp, np.where(ramp == 0, 60.0, 0.0)),
        "far apart": (40.0 * ramp, -40.0 * ramp),
        "large logits": (1e4 + ramp, 2e4 - ramp),
    }
    return {name: [np.tile(row, (rows, 1)) for row in pair] for name, pair in pairs.items()}


PARAMS = {
    "plain": SamplingParams(),
    "cool": SamplingParams(temperature=0.3),
    "hot, top-k": SamplingParams(temperature=1.7, top_k=2),
    "top-p": SamplingParams(top_p=0.7),
    "all filters": SamplingParams(temperature=0.8, top_k=3, top_p=0.9, min_p=0.05),
    "greedy": GREEDY,
}


@pytest.mark.parametrize("params", PARAMS.values(), ids=PARAMS)
@pytest.mark.parametrize(("vocab", "length"), [(2, 4), (3, 3), (5, 2), (32, 1)])
@pytest.mark.parametrize("spread", [0.5, 4.0])
def test_row_laws_on_random_rows(params, vocab, length, spread):
    for seed in range(5):
        check(*random_rows(seed, vocab, length, spread), length, params=params)


@pytest.mark.parametrize("name", adversarial_rows(3, 1))
@pytest.mark.parametrize("params", PARAMS.values(), ids=PARAMS)
def test_row_laws_on_adversarial_rows(name, params):
    check(*adversarial_rows(3, 2)[name], 2, params=params)
    check(*adversarial_rows(3, 2)[name][::-1], 2, params=params)


@pytest.mark.parametrize("verifier", ["top_down", "match"])
@pytest.mark.parametrize("params", PARAMS.values(), ids=PARAMS)
def test_one_hot_laws(verifier, params):
    """A drafter that is greedy, or that draws and then calls its draw deterministic (SLEM)."""
    for drafting in (GREEDY, SamplingParams(temperature=0.8)):
        for pair in [random_rows(7, 3, 3, 2.0), *adversarial_rows(3, 3).values()]:
            check(*pair, 3, params=params, draft_params=drafting, one_hot=True, verifier=verifier)


@pytest.mark.parametrize("one_hot", [False, True])
@pytest.mark.parametrize("params", PARAMS.values(), ids=PARAMS)
def test_blocks_are_those_of_the_exact_reference(one_hot, params):
    """Not only the text: how many tokens a round keeps is the reference's, in fractions."""
    target, draft = (x.astype(np.float32) for x in random_rows(5, 3, 2, 1.5))
    laws = [
        [[Fraction(mass) for mass in row] for row in testing.law_masses(rows, params)]
        for rows in (target, draft)
    ]
    laws = [[[mass / sum(row) for mass in row] for row in rows] for rows in laws]
    draw = draft_laws.declared_certain if one_hot else draft_laws.row
    drawn = trees.drafts(
        trees.static(trees.shape("1,1")),
        lambda prefix: laws[0][row_of(prefix, 3)],
        lambda prefix, k: draw(laws[1][row_of(prefix, 3)], k),
    )
    exact = trees.round_law(top_down, drawn)
    ours = Counter()
    for weight, emitted in testing.enumerate_chain(
        target, draft, 2, one_hot, params, params, "top_down"
    ):
        ours[tuple(emitted)] += weight
    for block in exact.keys() | ours.keys():
        assert ours[block] == pytest.approx(float(exact[block]), abs=1e-12)


def test_longest_chain():
    check(*random_rows(1, 3, 4, 1.5), 4, params=SamplingParams(temperature=0.9))


def test_drafter_with_its_own_parameters():
    draft_params = SamplingParams(temperature=0.5, top_p=0.8)
    check(*random_rows(2, 4, 2, 2.0), 2, params=SamplingParams(), draft_params=draft_params)


def test_another_law_than_the_drawn_one_is_caught():
    """The check itself can fail: drafts drawn greedily but verified as draws from the row."""
    target, draft = (x.astype(np.float32) for x in random_rows(3, 3, 1, 1.0))
    drawn = testing.enumerate_chain(
        target, draft, 1, True, SamplingParams(), SamplingParams(), "top_down"
    )
    as_row = testing.enumerate_chain(
        target, draft, 1, False, SamplingParams(top_k=2), SamplingParams(), "top_down"
    )
    law = np.array(testing.law_masses(target, SamplingParams()))
    exact = target_law(law, 3, 1)
    assert np.abs(joint_law(drawn, law, 3, 1) - exact).max() <= 1e-12
    assert np.abs(joint_law(as_row, law, 3, 1) - exact).max() > 0.01


def test_acceptance_rate_is_one_minus_the_distance():
    """Leviathan et al. 2023, theorem 3.5: alpha = sum min(p, q)."""
    target, draft = (x.astype(np.float32) for x in random_rows(4, 5, 1, 1.5))
    outcomes = testing.enumerate_chain(
        target, draft, 1, False, SamplingParams(), SamplingParams(), "top_down"
    )
    accepted = sum(weight for weight, emitted in outcomes if len(emitted) == 2)
    p, q = (np.array(testing.law_masses(x[:1], SamplingParams()))[0] for x in (target, draft))
    assert accepted == pytest.approx(np.minimum(p, q).sum(), abs=1e-12)
