"""Several requests together: each gives what it gives alone, and its errors are its own."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toys import DRAFTER, TARGET, TableModel

from anydraft import (
    InputError,
    NonFiniteLogitsError,
    SamplingParams,
    SpeculativeSession,
    Vocabulary,
    page,
)
from anydraft.bridges import CERTAIN

BRIDGES = ["none", "lookup", "same", "tli", "slem", "slrs", "auto"]
SIDES = ("target", "drafter")
PROMPTS = [[0, 1, 2, 0, 1], [2], [3, 3, 1], [1, 0]]
SEEDED = SamplingParams(temperature=1.1, seed=5)


def session(bridge, **options):
    target = TableModel(TARGET, 1, padding=2)
    if bridge in ("none", "lookup"):
        drafter = None if bridge == "none" else "lookup"
        options.pop("tree", None)
        return SpeculativeSession(target, drafter, **options)
    drafter = TableModel(TARGET if bridge == "same" else DRAFTER, 2)
    return SpeculativeSession(target, drafter, bridge=bridge, **options)


requests = st.tuples(
    st.lists(st.integers(0, TARGET.size - 2), min_size=1, max_size=8),
    st.builds(
        SamplingParams,
        temperature=st.sampled_from([0.0, 0.7, 1.3]),
        top_p=st.sampled_from([1.0, 0.9]),
        seed=st.integers(0, 99),
    ),
    st.integers(0, 25),
)


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(BRIDGES),
    st.sampled_from([{}, {"tree": "2x2"}, {"tree": "dynamic:2,2,3,5"}, {"draft_length": "auto"}]),
    st.lists(requests, min_size=1, max_size=6),
    st.integers(1, 6),
)
def test_a_request_gives_the_same_whatever_is_beside_it(bridge, shape, several, batch_size):
    prompts, params, lengths = (list(column) for column in zip(*several, strict=True))
    together = session(bridge, **shape).generate(
        prompts, sampling=params, max_tokens=lengths, batch_size=batch_size
    )
    for (prompt, own, length), got in zip(several, together, strict=True):
        alone = session(bridge, **shape).generate(prompt, sampling=own, max_tokens=length)
        assert (got.tokens, got.text) == (alone.tokens, alone.text)
        assert got.finish_reason == alone.finish_reason
        # Automatic lengths may go by the others, where the text does not change by it.
        if shape == {"draft_length": "auto"} and (own.temperature == 0 or bridge in CERTAIN):
            continue
        counts = ("target_calls", "draft_calls", "drafted", "accepted", "bridges")
        assert [getattr(got.stats, c) for c in counts] == [getattr(alone.stats, c) for c in counts]


@pytest.mark.parametrize("bridge", BRIDGES)
def test_calls_are_shared_and_caches_released(bridge):
    run = session(bridge, draft_confidence=0, sampling=SEEDED)
    stats = [g.stats for g in run.generate(PROMPTS, max_tokens=20)]
    assert run.target.calls == max(s.target_calls for s in stats)
    assert run.target.texts == {}
    if run.drafter not in (None, "lookup"):
        assert run.drafter.calls < sum(s.draft_calls for s in stats)
        assert run.drafter.texts == {}
    alone = [g.tokens for g in run.generate(PROMPTS, max_tokens=20, batch_size=1)]
    assert alone == [r.generation.tokens for r in run.runs]


def test_the_next_request_begins_where_one_ends():
    run = session("none", sampling=SamplingParams(temperature=0))
    run.target.row = lambda text: np.eye(TARGET.size, dtype=np.float32)[0]
    run.generate([[1]] * 4, max_tokens=[6, 2, 2, 2], batch_size=2)
    assert run.target.calls == 6


def bad_rows(run, first_token):
    """The target has no numbers for the request that begins with this token, behind its prompt."""
    target = run.target

    def poisoned(feeds):
        rows, end = target(feeds).copy(), 0
        for feed in feeds:
            end += feed.rows
            text = target.texts[feed.request][-1]
            if poisoned.on and text[0] == first_token and len(text) > 3:
                rows[end - feed.rows : end] = np.nan
        return rows

    poisoned.vocabulary, poisoned.on = TARGET, True
    run.target = poisoned
    return poisoned


@pytest.mark.parametrize("bridge", BRIDGES)
def test_an_error_of_one_request_costs_the_others_nothing(bridge):
    options = {"sampling": SEEDED, "max_tokens": 30}
    expected = [g.tokens for g in session(bridge).generate(PROMPTS, **options)]
    run = session(bridge)
    target = bad_rows(run, 3)
    with pytest.raises(NonFiniteLogitsError):
        run.generate(PROMPTS, **options)
    for i, (request, tokens) in enumerate(zip(run.runs, expected, strict=True)):
        if i != 2:
            assert (request.error, request.generation.tokens) == (None, tokens)
    broken = run.runs[2]
    assert isinstance(broken.error, NonFiniteLogitsError)
    before = broken.generation
    assert before.finish_reason is None and before.tokens == expected[2][: len(before.tokens)]
    target.on = False
    list(broken)
    assert (broken.error, broken.generation.tokens) == (None, expected[2])


def test_a_model_that_fails_stops_all_and_all_can_go_on():
    expected = [g.tokens for g in session("tli").generate(PROMPTS, sampling=SEEDED)]
    run = session("tli")
    target = run.target

    def flaky(feeds):
        rows = target(feeds)
        if target.calls == 3:
            raise ConnectionError("the accelerator went away")
        return rows

    flaky.vocabulary = TARGET
    run.target = flaky
    with pytest.raises(ConnectionError):
        run.generate(PROMPTS, sampling=SEEDED)
    for request, tokens in zip(run.runs, expected, strict=True):
        assert request.generation.tokens == tokens[: len(request.generation.tokens)]
    for request, tokens in zip(run.runs, expected, strict=True):
        list(request)
        assert request.generation.tokens == tokens


def test_an_interrupt_loses_nothing():
    """Ctrl-C between the rows of two requests: the model has taken in both feeds."""
    expected = [g.tokens for g in session("slem", tree="2x2").generate(PROMPTS, sampling=SEEDED)]
    calls = []

    def encode(text):
        calls.append(text)
        if len(calls) % 5 == 0:
            raise KeyboardInterrupt
        return TARGET.encode(text)

    names = [TARGET.token_bytes(i) or b"" for i in range(TARGET.size)]
    table = Vocabulary.from_bytes(
        names, encoder=encode, specials=TARGET.specials, roles={"eos": TARGET.role("eos")}
    )
    target = TableModel(TARGET, 1, padding=2)
    target.vocabulary = table
    run = SpeculativeSession(target, TableModel(DRAFTER, 2), bridge="slem", tree="2x2")
    with pytest.raises(KeyboardInterrupt):
        run.generate(PROMPTS, sampling=SEEDED)
    for request, tokens in zip(run.runs, expected, strict=True):
        while request.generation.finish_reason is None:
            try:
                list(request)
            except KeyboardInterrupt:
                continue
        assert request.generation.tokens == tokens


def test_lists_that_do_not_fit():
    run = session("none")
    with pytest.raises(InputError, match="expected 4 sampling, one a prompt, got 1"):
        run.generate(PROMPTS, sampling=[SEEDED])
    with pytest.raises(InputError, match="expected 4 max_tokens, one a prompt, got 2"):
        run.generate(PROMPTS, max_tokens=[1, 2])
    with pytest.raises(InputError, match="batch_size >= 1, got 0"):
        run.generate(PROMPTS, batch_size=0)
    target = run.target
    wrong = lambda feeds: target(feeds)[1:]  # noqa: E731
    wrong.vocabulary = TARGET
    run.target = wrong
    with pytest.raises(InputError, match=r"logits \[4, vocab\] from the target, got \[3, "):
        run.generate(PROMPTS)


@settings(max_examples=100, deadline=None)
@given(
    st.sampled_from(BRIDGES),
    st.sampled_from([{}, {"tree": "2x2"}, {"tree": "dynamic:2,2,3,5"}, {"draft_length": "auto"}]),
    # A drafter may have nothing to say (-inf everywhere): no error.
    st.sampled_from([("target", -np.inf), *itertools.product(SIDES, [np.nan, np.inf])]),
    st.sets(st.tuples(st.integers(0, 12), st.integers(0, 3)), min_size=1, max_size=4),
)
def test_requests_of_one_core_end_with_their_own_errors(bridge, shape, spoil, spoilt):
    """As a service drives the core: one session, many requests, some rows of some of them bad."""
    side, bad = spoil
    wanted = session(bridge, **shape).generate(PROMPTS, sampling=[SEEDED] * 4, max_tokens=20)
    pair = session(bridge, **shape)
    core, stop = pair._engine, TARGET.role("eos")
    ids = [core.add(p, sampling=SEEDED, max_tokens=20, stop=stop) for p in PROMPTS]
    calls = dict.fromkeys(SIDES, 0)
    while True:
        while (work := core.next()).model != "idle":
            which, feeds = work.model, work.feeds
            rows = pair.target(feeds) if which == "target" else pair.drafter(feeds)
            ends = np.cumsum([feed.rows for feed in feeds])
            for i, feed in enumerate(feeds):
                if which == side and (calls[which], feed.request // 2 % 4) in spoilt:
                    rows[ends[i] - feed.rows : ends[i]] = bad
            calls[which] += 1
            core.feed(work, rows)
        ended = [core.finish(i) for i in ids]
        for i, reason, generation in zip(ids, ended, wanted, strict=True):
            tokens = [token for token, *_ in core.emitted(i)]
            if reason == "error":
                assert tokens == generation.tokens[: len(tokens)]
                with pytest.raises(NonFiniteLogitsError):
                    core.check(i)
                core.resume(i)
            else:
                assert (tokens, reason) == (generation.tokens, generation.finish_reason)
        if "error" not in ended:
            return


@pytest.mark.parametrize("batch_size", [1, 4])
def test_a_report_counts_the_time_that_was_spent(batch_size, tmp_path, monkeypatch):
    """Of texts one after another, and of texts together: every call takes a second."""
    clock = itertools.count()
    monkeypatch.setattr("time.perf_counter", lambda: float(next(clock)))
    one = session("none")
    one.generate(PROMPTS, max_tokens=5, batch_size=batch_size, sampling=SEEDED)
    spent = next(clock)
    told = page._report(one, one.runs)
    assert told["tokens_per_second"] == pytest.approx(4 * 5 / spent, rel=0.25)
