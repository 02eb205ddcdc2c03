"""The bridge and the draft length that choose themselves: exact distributions, and what they
choose.
"""

import itertools

import numpy as np
import pytest
from toys import DRAFTER, TARGET, TableModel, constant

from anydraft import SamplingParams, SpeculativeSession
from tests.distributions.sessions import FILTERED, GREEDY, PAIRS, PLAIN, check, models, words


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize("params", [PLAIN, FILTERED, GREEDY], ids=["plain", "filtered", "greedy"])
def test_exact_distribution(name, params):
    check(*models(name), params, bridge="auto")


@pytest.mark.parametrize("bridge", ["same", "tli", "slrs", "slem", "auto"])
@pytest.mark.parametrize("cost", [0.05, 0.26, 0.5])
def test_exact_distribution_with_lengths_of_its_own(bridge, cost):
    """What is drafted depends on how sure the drafter is of a row, and on what was kept before."""
    target, drafter = models("duplicates")
    if bridge == "same":
        drafter = TableModel(target.vocabulary, 9)
    options = {"auto_length": True, "draft_cost": cost, "draft_length": 4}
    check(target, drafter, PLAIN, 4, bridge=bridge, **options)


def counted_cost(session, stats, rows):
    """What a text cost in target calls on one row, by the tables a session counts with."""
    return stats.target_calls + session.draft_cost * stats.draft_calls + rows * stats.drafted


def always_and_never():
    """Drafters of a target that says "a" alone: one that is always right, one that never is."""
    target = constant(words("a", "b"), [1 - 1e-6, 1e-6])
    never = constant(words("b", "a"), [1 - 1e-6, 1e-6])
    always = constant(words("b", "a"), [1e-6, 1 - 1e-6])
    return target, always, never


@pytest.mark.parametrize("cost", [0.05, 0.15, 0.4])
def test_what_drafting_may_lose_is_bounded(cost):
    """A drafter that is sure of itself and never right: 2 % of the tokens that may come, 1 % of
    those that come; half a call more with the round that spends the last of it."""
    target, _, never = always_and_never()
    target.row_costs, never.row_costs = [0, 1.0], [0, cost]
    session = SpeculativeSession(target, never, bridge="tli", draft_length="auto")
    for tokens in (64, 500):
        sampling = SamplingParams(seed=1, max_tokens=tokens)
        stats = session.generate([0], sampling=sampling).stats
        lost = counted_cost(session, stats, 0.05) - stats.tokens
        assert 0 < lost <= 0.03 * tokens + 0.5 and stats.drafted > 0


@pytest.mark.parametrize("cost", [0.05, 0.15, 0.4])
def test_a_drafter_that_is_right_is_asked_for_as_much_as_pays(cost):
    """At least 0.9 times as fast as the best of the fixed lengths, in counted cost."""
    target, always, _ = always_and_never()
    target.row_costs, always.row_costs = [0, 1.0], [0, cost]
    costs = {}
    for length in ("auto", 1, 2, 4, 8, 15):
        session = SpeculativeSession(target, always, bridge="tli", draft_length=length)
        stats = session.generate([0], sampling=SamplingParams(seed=1, max_tokens=500)).stats
        costs[length] = counted_cost(session, stats, 0.05)
    assert min(costs.values()) >= 0.9 * costs["auto"]


def test_no_draft_goes_where_rows_begin_to_cost():
    """A call on four rows costs three times one on three: two tokens, and one of the target's."""
    target, always, _ = always_and_never()
    target.row_costs, always.row_costs = [0, 1, 1, 1, *range(3, 19)], [0, 0.01]
    session = SpeculativeSession(target, always, bridge="tli", draft_length="auto")
    stats = session.generate([0], sampling=SamplingParams(seed=1, max_tokens=300)).stats
    assert 1.9 <= stats.drafted / stats.target_calls <= 2


def test_costs_below_nothing_are_refused():
    target, always, _ = always_and_never()
    always.row_costs, target.row_costs = [0, -1.0], [0, 1.0]
    with pytest.raises(ValueError, match=r"row_costs above 0 and finite, got -1\.0"):
        SpeculativeSession(target, always)


def used(generation):
    return {name: told["rounds"] for name, told in generation.stats.bridges.items()}


def test_moves_to_what_the_request_s_past_speaks_for():
    """The drafter writes long tokens, which TLI leaves out: SLRS spells them."""
    target = constant(words("a", "b"), [0.5, 0.5])
    drafter = constant(words("a", "ab", "ba", "b"), [0.9, 1e-4, 1e-4, 0.0998])
    lopsided = constant(words("a", "ab", "ba", "b"), [0.2, 0.3, 0.49, 0.01])
    for model, worse in ((lopsided, "tli"), (drafter, "slem")):
        session = SpeculativeSession(target, model, sampling=SamplingParams(seed=1))
        assert session.bridge == "auto"
        generation = session.generate([0], max_tokens=200)
        rounds = used(generation)
        assert rounds[worse] <= 5 < sum(rounds.values())
        told = generation.stats.bridges
        assert told[worse]["worth"] < max(bridge["worth"] for bridge in told.values())


def test_acceptances_are_those_of_the_rows():
    """alpha of one step: sum of min(p, distribution), for SLEM the target's mass of the likeliest,
    on average over a text, whichever bridge wrote it."""
    target, drafter = [0.6, 0.4], [0.2, 0.3, 0.49, 0.01]
    session = SpeculativeSession(
        constant(words("a", "b"), target),
        constant(words("a", "ab", "ba", "b"), drafter),
        sampling=SamplingParams(seed=1),
    )
    told = session.generate([0], max_tokens=2000).stats.bridges
    tli = np.array([0.2, 0.01]) / 0.21
    expected = {
        "tli": np.minimum(target, tli).sum(),
        "slrs": np.minimum(target, [0.5, 0.5]).sum(),
        "slem": target[1],  # of "ba"
    }
    for name, value in expected.items():
        assert told[name]["acceptance"] == pytest.approx(value, abs=0.04)  # over 1,000 tokens


def told_of_bridges(session, runs, tokens):
    """The worth of each bridge in the middle of a text, on average."""
    told = []
    for seed in range(runs):
        events = session.stream([0], max_tokens=2 * tokens, sampling=SamplingParams(seed=seed))
        for _ in itertools.islice(events, tokens):
            pass
        told.append({k: v["worth"] for k, v in session.last.generation.stats.bridges.items()})
    return {bridge: np.mean([one[bridge] for one in told]) for bridge in told[0]}


@pytest.mark.parametrize(
    "draft, verifier",
    [
        ({"a": 0.2, "b": 0.8}, "auto"),
        ({"a": 0.2, "b": 0.8}, "top_down"),
        ({"a": 0.7, "b": 0.3}, "auto"),
        ({"baba": 0.4, "abab": 0.5, "b": 0.05, "a": 0.05}, "auto"),
    ],
)
def test_what_is_told_of_a_bridge_is_what_it_does(draft, verifier):
    """Whichever bridge wrote the text. Of [0.2, 0.8] more is kept in blocks than token by token
    (1.26 tokens of four against 0.94); "aaaa", likeliest under [0.7, 0.3], reads "aa", "aa", and
    seldom does it come so, though the text often goes on like it. The last drafter's tokens spell
    several of the target's, and TLI leaves most of it out."""
    target = constant(words("a", "b", "aa"), [0.5, 0.3, 0.2])
    drafter = constant(words(*draft), list(draft.values()))
    target.row_costs, drafter.row_costs = [0, 1.0], [0, 1e-9]

    def session(bridge):
        return SpeculativeSession(
            target, drafter, bridge=bridge, verifier="auto" if bridge == "slem" else verifier,
            draft_length=4, draft_confidence=0, sampling=SamplingParams(seed=1),
        )  # fmt: skip

    told = told_of_bridges(session("auto"), 30, 75)
    prior = sum(0.55**n for n in range(1, 5))  # as of 8 places; about 40 of 64 tokens count
    for bridge, worth in told.items():
        stats = session(bridge).generate([0], max_tokens=2000).stats
        does = stats.accepted / stats.target_calls
        kept = worth * (1 + 4 * 0.05) - 1  # a drafted token costs 0.05
        assert kept == pytest.approx((8 * prior + 40 * does) / 48, abs=0.12), bridge


def test_seeded_texts_do_not_depend_on_the_run_or_on_neighbours():
    sampling = SamplingParams(seed=7)
    session = SpeculativeSession(TableModel(TARGET, 1), TableModel(DRAFTER, 2), sampling=sampling)
    alone = session.generate([0, 1], max_tokens=40)
    first, _ = session.generate([[0, 1], [1, 0]], max_tokens=40)
    assert alone.tokens == first.tokens
    assert used(alone) == used(first)


@pytest.mark.parametrize("bridge", ["tli", "slem"])
@pytest.mark.parametrize("temperature, seed", [(0, 1), (1, 1), (1, None)])
def test_requests_together_draft_less_where_rows_cost_more(bridge, temperature, seed):
    """Eight rows cost what one does, more of them each a call. Alone a request drafts; eight that
    share the call do not, unless a seed promises a text that would change by it."""
    target, always, _ = always_and_never()
    target.row_costs, always.row_costs = [0, *[1] * 8, *range(2, 10)], [0, 0.05]
    session = SpeculativeSession(target, always, bridge=bridge, draft_length="auto")
    sampling = SamplingParams(temperature, seed=seed, max_tokens=60)
    alone = session.generate([0], sampling=sampling)
    together = session.generate([[0]] * 8, sampling=sampling)
    assert alone.stats.drafted > 40
    fixed = bridge == "tli" and temperature == 1 and seed is not None
    for one in together[1:]:
        assert one.stats.drafted > 40 if fixed else one.stats.drafted <= 5
    if seed is not None:
        assert together[0].tokens == alone.tokens


def test_a_short_text_does_not_have_the_drafter_read_a_long_prompt():
    """Two of 400 tokens come: reading them would cost the drafter four calls of the target's."""
    target, always, _ = always_and_never()
    target.row_costs, always.row_costs = [0, *[1] * 16], [0, 0.1]
    session = SpeculativeSession(target, always, bridge="tli", draft_length="auto")
    sampling = SamplingParams(seed=1, max_tokens=2)
    assert session.generate([0] * 400, sampling=sampling).stats.draft_calls == 0
    assert session.generate([0] * 4, sampling=sampling).stats.draft_calls > 0


def test_nothing_in_common_is_plain_decoding():
    """Neither tokens, nor bytes that can be spelt: rounds without drafts, and the text is right."""
    target, stranger = TableModel(TARGET, 1), TableModel(words("x", "y"), 2)
    greedy = SamplingParams(temperature=0)
    generation = SpeculativeSession(target, stranger, sampling=greedy).generate([0, 1])
    plain = SpeculativeSession(target, sampling=greedy).generate([0, 1])
    assert generation.tokens == plain.tokens
    assert generation.stats.drafted == 0
