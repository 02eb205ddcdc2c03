"""String-level rejection sampling with general stop rules: exact distributions of whole
sessions.
"""

import functools
from fractions import Fraction

import numpy as np
import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st
from toys import DRAFTER, TARGET, TableModel, constant

from anydraft import (
    InputError,
    SamplingParams,
    Slrs,
    SpeculativeSession,
    Vocabulary,
    VocabularyError,
    _core,
)
from tests.distributions.sessions import (
    FILTERED,
    GREEDY,
    PAIRS,
    PLAIN,
    PROMPT,
    TREES,
    check,
    exact_distribution,
    largest_difference,
    models,
    play,
    words,
)
from tests.reference import stop_rules

ENOUGH = 10**6  # rows: the rule alone decides
SETTLED = 0
RULES = {
    "two": {"stop_tokens": 2, "draft_budget": ENOUGH},
    "three, few rows": {"stop_tokens": 3, "draft_budget": 6},
    "settled, few rows": {"stop_tokens": SETTLED, "draft_budget": 9},
}


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize("params", [PLAIN, FILTERED, GREEDY], ids=["plain", "filtered", "greedy"])
@pytest.mark.parametrize("rule", RULES)
def test_chains(name, params, rule):
    check(*models(name), params, **RULES[rule])


@pytest.mark.parametrize("name", ["longer on either side", "duplicates", "spell nothing"])
@pytest.mark.parametrize("options", TREES.values(), ids=TREES)
def test_trees(name, options):
    check(*models(name), FILTERED, **options, **RULES["two"])


@settings(max_examples=25, deadline=None)
@given(
    target=st.lists(st.text("ab", min_size=2, max_size=3), max_size=2),
    drafter=st.lists(st.text("abc", min_size=1, max_size=4), min_size=1, max_size=4),
    seed=st.integers(0, 1000),
    tokens=st.integers(0, 3),
    budget=st.integers(1, 12),
)
def test_random_vocabularies(target, drafter, seed, tokens, budget):
    pair = (
        TableModel(words("a", "b", *target), seed),
        TableModel(words(*drafter, "a", "b"), seed + 1),
    )
    check(*pair, PLAIN, stop_tokens=tokens, draft_budget=budget)


def native_words(*merges):
    """A byte-level BPE that this library encodes, cut before words as GPT-2's."""
    tokens = ["a", "b", "\u0120", *("".join(pair) for pair in merges)]
    model = tokenizers.models.BPE({token: i for i, token in enumerate(tokens)}, list(merges))
    tokenizer = tokenizers.Tokenizer(model)
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    return Vocabulary.from_json(tokenizer.to_str())


@pytest.mark.parametrize("budget", [3, 12])
@pytest.mark.parametrize("params", [PLAIN, GREEDY], ids=["plain", "greedy"])
def test_settled_by_a_native_tokeniser(budget, params):
    vocabulary = native_words(("a", "b"), ("\u0120", "ab"))
    assert vocabulary.native and vocabulary.encode("ab ab") == [3, 4]
    settled = functools.partial(_core.testing.first_token_settled, vocabulary.table)
    assert settled(b"ab ") and not settled(b"ab") and not settled(b" ")
    pair = TableModel(vocabulary, 5), TableModel(words("a", "b", " ", "b "), 6)
    check(*pair, params, stop_tokens=SETTLED, draft_budget=budget)


def stated_distributions(target, drafter, tokens, **options):
    """{drafted tokens: the distribution of what was drafted behind them}, of the first round.

    The target is greedy: its choices are no branches.
    """
    distributions = {}

    def look(drafted, parents, rows, logits):
        logits = np.array(logits).reshape(max(rows) + 1, -1)
        for node, row in enumerate(rows):
            if row >= 0 and len(drafted) == tokens:  # later rounds have less remaining
                masses = np.exp(logits[row] / PLAIN.temperature)
                distributions[tuple(drafted[1 : node + 1])] = masses / masses.sum()
        return logits.ravel().tolist()

    play(target, drafter, GREEDY, tokens, draft_sampling=PLAIN, restate=look, **options)
    return distributions


EXACT_PAIRS = {  # target, drafter; EOS is the last of either
    "longer on either side": (["a", "b", "aab"], ["a", "ba", "bab", "b"]),
    "duplicates": (["a", "b"], ["a", "b", "a", "ab", "ab", "abb"]),
    "not canonical": (["a", "b", "ab", "ba"], ["a", "b", "bab"]),
    "spell nothing": (["a", "b", "bb"], ["a", "", "b", "ab"]),
}


@pytest.mark.parametrize("name", EXACT_PAIRS)
@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("budget", [1, 5, 12, ENOUGH])
def test_the_distributions_are_psi_of_the_rule(name, count, budget):
    """Against exact fractions: of the first, second and third token, behind every history."""
    tokens, drafter_words = EXACT_PAIRS[name]
    target = TableModel(words(*tokens, eos=True), 3)
    drafter = TableModel(words(*drafter_words, eos=True), 4)
    context = drafter.vocabulary.encode(target.vocabulary.decode(PROMPT))

    def draft(drawn):
        row = drafter.row((*context, *drawn)).copy()[None]
        return [Fraction(mass) for mass in _core.testing.distribution_masses(row, PLAIN)[0]]

    distributions = stated_distributions(
        target, drafter, 6 - count, stop_tokens=count, draft_budget=budget
    )
    assert () in distributions and len(distributions) >= 3
    reference = stop_rules.Sequences(
        functools.cache(draft),
        [*drafter_words, stop_rules.END],
        tokens,
        lambda unsaid: len(unsaid) >= count,
        budget,
    )
    for drafted, distribution in distributions.items():
        exact = [float(mass) for mass in reference.psi(drafted)]
        assert distribution == pytest.approx(exact, abs=2e-6)


# A drafter that says the same everywhere, so that the reference knows each distribution.
SPELT = {"a": 0.3, "ba": 0.1, "b": 0.15, "ab": 0.25, "aab": 0.2}
TARGET_TOKENS = ["a", "b", "aab"]
TARGET_MASSES = [0.5, 0.3, 0.2]
TWO = {"stop_tokens": 2, "draft_budget": ENOUGH, "draft_length": 2, "verifier": "top_down"}


def by_hand(masses=TARGET_MASSES):
    target = constant(words(*TARGET_TOKENS), masses)
    return target, constant(words(*SPELT), list(SPELT.values()))


def reference_schemes(count, masses=None):
    """psi by the drafted tokens, of the rule of `count` drafter tokens."""
    chances = [Fraction(mass) for mass in masses or SPELT.values()]
    sequences = stop_rules.Sequences(
        lambda drawn: chances,
        list(SPELT),
        TARGET_TOKENS,
        lambda unsaid: len(unsaid) >= count,
        10**9,
    )
    return functools.cache(lambda begun: [float(mass) for mass in sequences.psi(begun)[:-1]])


def error_with(distribution):
    """Largest error of the session's distribution where the verifier is told distribution(drafted
    tokens).
    """

    def restate(tokens, parents, rows, distributions):
        distributions = np.array(distributions).reshape(max(rows) + 1, -1)
        for node, row in enumerate(rows):
            if row >= 0:
                with np.errstate(divide="ignore"):
                    distributions[row] = np.log(distribution(tuple(tokens[1 : node + 1])))
        return distributions.ravel().tolist()

    played = play(*by_hand(), SamplingParams(), 3, restate=restate, **TWO)
    exact = exact_distribution(Tabled(by_hand()[0]), SamplingParams(), 3)
    return largest_difference(played.distribution, exact)


class Tabled:
    """A constant model as `exact_distribution` reads models."""

    def __init__(self, model):
        self.vocabulary = model.vocabulary
        with np.errstate(divide="ignore"):
            self.logits = np.log(np.array(TARGET_MASSES, dtype=np.float32))

    def row(self, text):
        return self.logits


def test_the_right_distributions_pass_and_wrong_ones_are_caught():
    right, one = reference_schemes(2), reference_schemes(1)
    duplicates_lost = reference_schemes(2, [0.3, 0.1, 0.15, 0.25, 0.0])  # "aab" as "a" + "ab" alone
    assert error_with(right) <= 1e-6
    wrong = {
        "psi of another stop rule": one,
        "forgotten that a sequence goes on": lambda begun: right(()),
        "overwritten sequences of one text": duplicates_lost,
        "the drawn token for certain": lambda begun: [1 / 3] * 3,
    }
    for name, distribution in wrong.items():
        assert error_with(distribution) > 1e-3, name


def test_a_drawn_token_without_mass_is_refused():
    with pytest.raises(InputError, match="mass in its own distribution"):
        error_with(lambda begun: [1.0, 0, 0])


def test_a_target_masked_to_what_the_drafter_spells_is_caught():
    tokens = words(*TARGET_TOKENS, "bb")
    drafter = by_hand()[1]
    exact = {(i,): mass for i, mass in enumerate([0.4, 0.2, 0.2, 0.2])}
    options = {**TWO, "draft_length": 1}
    full = play(constant(tokens, [0.4, 0.2, 0.2, 0.2]), drafter, SamplingParams(), 1, **options)
    masked = play(constant(tokens, [0.5, 0.25, 0.25, 0]), drafter, SamplingParams(), 1, **options)
    assert largest_difference(full.distribution, exact) <= 1e-7
    assert largest_difference(masked.distribution, exact) > 0.05


# Exact match holds half a character back: another stop rule.
@pytest.mark.parametrize("name", sorted(PAIRS.keys() - {"half a character"}))
def test_accepts_no_less_than_exact_match(name):
    """Both by two drafter tokens: sum of min(p, psi) against sum of p * psi."""
    for seed in range(2):
        pair, free = models(name, seed), {"draft_sampling": SamplingParams()}
        slrs = play(*pair, PLAIN, 2, **{**TWO, "draft_length": 1}, **free)
        slem = play(*pair, PLAIN, 3, bridge="slem", draft_length=2, **free)
        assert slrs.accepted >= slem.accepted - 1e-12


SEEDED = SamplingParams(temperature=1.1, seed=5)


def session(**options):
    bridge = Slrs(options.pop("stop_rule", "settled"), options.pop("budget", 32))
    options = {"bridge": bridge, "sampling": SEEDED, **options}
    return SpeculativeSession(TableModel(TARGET, 1), TableModel(DRAFTER, 2), **options)


def test_a_budget_of_nothing_is_plain_decoding():
    for rule in (1, 3, "settled"):
        stats = session(stop_rule=rule, budget=0).generate([0, 1], max_tokens=20).stats
        assert stats.drafted == stats.draft_calls == 0 and stats.target_calls == stats.tokens


def test_a_spent_budget_is_told():
    generous, tight = (
        session(stop_rule=3, budget=rows).generate([0, 1], max_tokens=20).stats
        for rows in (5000, 3)
    )
    assert generous.stopped > 0.95 > 0.5 > tight.stopped
    assert generous.draft_calls > tight.draft_calls


def test_a_drafter_that_says_nothing_is_plain_decoding():
    """All of its mass lies on tokens without bytes, and beside them on what cannot be spelt."""
    drafter = constant(words("a", "", "c", specials={"<pad>": 1}), [0.0, 0.5, 0.5])
    target = TableModel(words("a", "b"), 1)
    options = {"bridge": Slrs(2), "sampling": SEEDED}
    stats = SpeculativeSession(target, drafter, **options).generate([0], max_tokens=9).stats
    assert (stats.tokens, stats.drafted) == (9, 0)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"stop_rule": 0}, "stop rule of 1, 2"),
        ({"stop_rule": "later"}, "stop rule of 1, 2"),
        ({"budget": -1}, "draft budget >= 0"),
    ],
)
def test_what_cannot_be_is_said(wrong, message):
    with pytest.raises(InputError, match=message):
        session(**wrong)


def test_a_pair_that_shares_no_byte_is_said():
    strangers = TableModel(words("a", "b"), 1), TableModel(words("x", "y"), 2)
    with pytest.raises(VocabularyError, match="can spell"):
        SpeculativeSession(*strangers, bridge=Slrs(2))


@pytest.mark.parametrize("which", ["target", "drafter"])
def test_a_model_that_raises_loses_nothing(which):
    whole = session().generate([0, 1], max_tokens=30).tokens
    broken, calls = session(), []
    model = getattr(broken, which)

    def flaky(feeds):
        calls.append(len(feeds))
        if len(calls) in (3, 7):
            raise ConnectionError("the accelerator went away")
        return model(feeds)

    flaky.vocabulary = model.vocabulary
    setattr(broken, which, flaky)
    run, seen = broken.stream([0, 1], max_tokens=30), []
    while run.generation.finish_reason is None:
        try:
            seen += [event.tokens[0] for event in run]
        except ConnectionError:
            seen = run.generation.tokens
    assert run.generation.tokens == whole
