"""What goes wrong is said clearly, and nothing already emitted is lost."""

import contextlib

import numpy as np
import pytest
import torch
from test_session import GREEDY, PROMPT, SEEDED, session, tokens
from toys import DRAFTER, TARGET, TableModel, constant, letters, vocabulary

from anydraft import (
    Error,
    InputError,
    NonFiniteLogitsError,
    SamplingParams,
    Slrs,
    SpeculativeSession,
    Vocabulary,
    VocabularyError,
    stateless,
)


def test_a_model_that_raises_loses_nothing_and_the_run_goes_on():
    run = session("tli", sampling=SEEDED)
    target, calls = run.target, []

    def flaky(feeds):
        calls.append(len(feeds))
        if len(calls) == 3:
            raise ConnectionError("the accelerator went away")
        return target(feeds)

    flaky.vocabulary = TARGET
    run.target = flaky
    stream = run.stream(PROMPT, max_tokens=40)
    seen = []
    with pytest.raises(ConnectionError, match="went away"):
        for event in stream:
            seen.append(event.tokens[0])
    assert seen == stream.generation.tokens
    assert stream.generation.finish_reason is None
    seen += [event.tokens[0] for event in stream]
    assert seen == tokens("tli", SEEDED) == stream.generation.tokens


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("side", ["target", "drafter"])
@pytest.mark.parametrize("bridge", ["same", "tli", "slem"])
def test_bad_logits_name_their_row_and_lose_nothing(bridge, side, bad):
    run = session(bridge, sampling=SEEDED)
    model, broken = getattr(run, side), []

    def poisoned(feeds):
        rows = model(feeds)
        if len(broken) == 2:
            rows[:, 2] = bad
        broken.append(True)
        return rows

    poisoned.vocabulary = model.vocabulary
    setattr(run, side, poisoned)
    stream = run.stream(PROMPT, max_tokens=40)
    with pytest.raises(NonFiniteLogitsError, match=r"row \d"):
        while True:
            next(stream)
    before = stream.generation.tokens
    list(stream)
    assert stream.generation.tokens[: len(before)] == before
    assert stream.generation.tokens == tokens(bridge, SEEDED)


def test_a_bad_drafter_row_is_told_once_to_who_looks_between_the_steps():
    run = session("tli", sampling=SEEDED)
    model, calls = run.drafter, []

    def poisoned(feeds):
        calls.append(len(feeds))
        return model(feeds) * (np.nan if len(calls) in (3, 4) else 1)

    poisoned.vocabulary = model.vocabulary
    run.drafter = poisoned
    handle, errors = run.add(PROMPT, max_tokens=40), 0
    while not handle.ended:
        run.step()
        assert handle.generation.tokens == handle.tokens
        if handle.error is not None:
            assert isinstance(handle.error, NonFiniteLogitsError) and not run.active
            errors += 1
            run._active[handle.id] = handle
    assert errors == 2
    assert handle.tokens == tokens("tli", SEEDED)


def test_a_bad_drafter_row_is_told_before_the_target_fails_for_all():
    run = session("tli", sampling=SEEDED)
    drafter, target, calls = run.drafter, run.target, []

    def poisoned(feeds):
        rows = drafter(feeds)
        calls.append("drafter")
        if len(calls) == 7:
            rows[0] = np.nan
        return rows

    def flaky(feeds):
        calls.append("target")
        if len(calls) > 7 and "raised" not in calls:
            calls.append("raised")
            raise ConnectionError
        return target(feeds)

    poisoned.vocabulary, flaky.vocabulary = drafter.vocabulary, target.vocabulary
    run.drafter, run.target = poisoned, flaky
    first, second = (run.add(PROMPT, max_tokens=40) for _ in range(2))
    while first.error is None:
        run.step()
    assert calls[6:] == ["drafter"] and isinstance(first.error, NonFiniteLogitsError)
    while run.active:
        with contextlib.suppress(ConnectionError):
            run.step()
    assert "raised" in calls and isinstance(first.error, NonFiniteLogitsError)
    list(first)
    assert first.tokens == second.tokens == tokens("tli", SEEDED)


@pytest.mark.parametrize("side", ["target", "drafter"])
@pytest.mark.parametrize(
    "spoil",
    [lambda rows: rows * np.nan, lambda rows: rows[:-1], lambda rows: rows.astype(np.float64)],
)
@pytest.mark.parametrize(
    "options", [{"tree": "3,2,2", "scheme": "spechub"}, {"tree": "dynamic:2,2,3,8"}]
)
def test_rows_of_a_tree_that_are_refused_change_nothing(options, spoil, side):
    """The model has moved the slots it was told to keep: the next feed must not name them again."""

    def run(spoilt):
        target, drafter = TableModel(endless, 1), TableModel(endless, 2)
        sampling = SamplingParams(temperature=0.9, seed=7)
        pair = SpeculativeSession(target, drafter, bridge="same", sampling=sampling, **options)
        model, calls = getattr(pair, side), []

        def spoils_some(feeds):
            calls.append(len(feeds))
            return (spoil if len(calls) in spoilt else np.copy)(model(feeds))

        spoils_some.vocabulary = endless
        setattr(pair, side, spoils_some)
        stream = pair.stream(PROMPT, max_tokens=60)
        for _ in spoilt:
            with pytest.raises(Error):
                list(stream)
        return [*stream] and stream.generation.tokens

    endless = vocabulary([("a", "b"), ("b", "c")], eos=False)
    assert run({2, 3, 5, 8, 9}) == run(set())


@pytest.mark.parametrize("times", [1, 2, 3, 5])
def test_an_encoder_that_is_interrupted_loses_nothing(times):
    calls = []

    def encode(text):
        calls.append(text)
        if 3 <= len(calls) < 3 + times:
            raise KeyboardInterrupt
        return DRAFTER.encode(text)

    names = [DRAFTER.token_bytes(i) or b"" for i in range(DRAFTER.size)]
    roles = {"eos": DRAFTER.role("eos")}
    run = session("tli", sampling=SEEDED)
    table = Vocabulary.from_bytes(names, encoder=encode, specials=DRAFTER.specials, roles=roles)
    interrupted = SpeculativeSession(
        run.target, TableModel(table, 2), bridge="tli", draft_confidence=0, sampling=SEEDED
    )
    stream = interrupted.stream(PROMPT, max_tokens=40)
    with pytest.raises(KeyboardInterrupt):
        list(stream)
    before = stream.generation.tokens
    while stream.generation.finish_reason is None:
        with contextlib.suppress(KeyboardInterrupt):
            list(stream)
    assert stream.generation.tokens[: len(before)] == before
    assert stream.generation.tokens == tokens("tli", SEEDED)


def test_a_drafter_of_nan_is_an_error_whatever_the_bridge():
    both = letters(b"a", b"b")
    target, drafter = constant(both, [0.6, 0.4]), constant(both, [np.nan, np.nan])
    for bridge in ("same", "tli", "slem"):
        with pytest.raises(NonFiniteLogitsError):
            SpeculativeSession(target, drafter, bridge=bridge, sampling=SEEDED).generate([0])


def test_models_with_gradients_and_one_model_twice():
    model = stateless(torch.nn.Embedding(2, 2), letters(b"a", b"b"))
    assert len(SpeculativeSession(model, None).generate([0], max_tokens=3).tokens) == 3
    both = SpeculativeSession(model, model, bridge="slem", sampling=SEEDED)
    plain = SpeculativeSession(model, None, sampling=SEEDED)
    assert both.generate([0], max_tokens=9).tokens == plain.generate([0], max_tokens=9).tokens
    with pytest.raises(InputError, match="got bytes"):
        SpeculativeSession(model, None).generate(b"ab")


def test_a_bad_prompt_of_a_list_costs_nothing():
    run = session("tli", sampling=SEEDED)
    with pytest.raises(InputError, match="at least one token"):
        run.generate([PROMPT, []])
    assert run.target.calls == 0


def test_logits_of_the_wrong_shape_or_type():
    for wrong, message in [
        (lambda rows: rows[:-1], r"expected logits \[5, vocab\] from the target, got \[4, "),
        (
            lambda rows: rows.astype(np.float64),
            "expected float32, bfloat16 or float16, got float64",
        ),
        (lambda rows: rows[None], "expected shape"),
        (lambda rows: np.asfortranarray(rows), "contiguous along the vocabulary"),
        (lambda rows: rows.tolist(), "expected a tensor"),
    ]:
        run = session("same", sampling=SEEDED)
        target = run.target

        def wrapped(feeds, target=target, wrong=wrong):
            return wrong(target(feeds))

        wrapped.vocabulary = TARGET
        run.target = wrapped
        with pytest.raises((InputError, TypeError), match=message):
            run.generate(PROMPT)


def test_prompts_that_cannot_be():
    run = session("tli", sampling=SEEDED)
    run.target.context_length = 6
    run = SpeculativeSession(run.target, run.drafter, bridge="tli", sampling=SEEDED)
    for prompt, message in [
        ("", "at least one token"),
        ([], "at least one token"),
        ([0] * 7, r"at most 6 tokens \(the target's context\), got 7"),
        ([-1], r"token ids as a prompt, got \[-1\]"),
        ([True], r"token ids as a prompt, got \[True\]"),
        ([0, TARGET.size], rf"prompt tokens in \[0, {TARGET.size}\), got {TARGET.size}"),
        ([{"role": "user", "content": "a"}], "no chat template"),
    ]:
        with pytest.raises(InputError, match=message):
            run.generate(prompt)
    with pytest.raises(InputError, match="max_tokens >= 0, got -1"):
        run.generate(PROMPT, max_tokens=-1)
    assert run.generate(PROMPT, max_tokens=0).tokens == []
    ended = run.generate(PROMPT, max_tokens=50)
    assert (ended.finish_reason, len(ended.tokens)) in [("context", 2), ("stop", 1), ("stop", 2)]


def test_sessions_that_cannot_be():
    target = TableModel(TARGET, 1, padding=3)
    alien = Vocabulary.from_bytes([b"x", b"y"], encoder=lambda text: [0])
    stranger = TableModel(alien, 2)
    with pytest.raises(VocabularyError, match='none in common: bridge="slem" needs none'):
        SpeculativeSession(target, stranger, bridge="tli")
    with pytest.raises(VocabularyError, match='bytes the target can spell for bridge "slrs"'):
        SpeculativeSession(target, stranger, bridge="slrs")
    with pytest.raises(InputError, match='expected equal vocabularies for bridge "same"'):
        SpeculativeSession(target, TableModel(DRAFTER, 2), bridge="same")
    with pytest.raises(
        InputError, match="expected a bridge out of same, tli, slem, slrs, auto, got 'tree'"
    ):
        SpeculativeSession(target, TableModel(DRAFTER, 2), bridge="tree")
    with pytest.raises(InputError, match='draft_length >= 0 or "auto", got -1'):
        SpeculativeSession(target, None, draft_length=-1)
    with pytest.raises(InputError, match='expected a model or "lookup"'):
        SpeculativeSession(target, "small")
    slem = SpeculativeSession(target, stranger, bridge="slem", sampling=GREEDY)
    assert slem.generate(PROMPT, max_tokens=20).tokens == tokens("none", GREEDY)[:20]
    for wrong in [
        {"temperature": -1},
        {"temperature": 1e-5},
        {"top_p": 0},
        {"top_k": -2},
        {"min_p": 1.0},
    ]:
        with pytest.raises(ValueError, match=r"\[SamplingParams\] expected"):
            SamplingParams(**wrong)


def test_padding_that_the_target_emits_is_not_fed_to_a_narrower_drafter():
    both = letters(b"a", b"b")
    target, drafter = constant(both, [0.2, 0.2, 0.6]), constant(both, [0.5, 0.5])
    run = SpeculativeSession(target, drafter, bridge="same", draft_confidence=0)
    assert run.generate([0], max_tokens=8, sampling=GREEDY).tokens == [2] * 8
    assert drafter.fed and all(token < 2 for feed in drafter.fed for token in feed.tokens)


@pytest.mark.parametrize("bridge", ["tli", "slrs", "auto"])
def test_a_target_that_fails_does_not_change_how_drafted_text_is_spelt_to_the_drafter(bridge):
    merges = [("a", "b"), ("b", "c"), ("ab", "c")], [("b", "a"), ("a", "b"), ("c", "c")]
    tables = [vocabulary(pairs, eos=False) for pairs in merges]

    def text(seed, every):
        target, calls = TableModel(tables[0], 3), []

        def flaky(feeds):
            calls.append(len(feeds))
            rows = target(feeds)
            if every and len(calls) % every == 1:
                raise ConnectionError
            return rows

        flaky.vocabulary = tables[0]
        sampling = SamplingParams(temperature=1.2, seed=seed)
        stream = SpeculativeSession(
            flaky, TableModel(tables[1], 4), bridge=bridge, draft_confidence=0, sampling=sampling
        ).stream([0, 1], max_tokens=40)
        while stream.generation.finish_reason is None:
            with contextlib.suppress(ConnectionError):
                list(stream)
        return stream.generation.tokens

    for seed in range(6, 12):
        assert text(seed, 2) == text(seed, 0)


@pytest.mark.parametrize("bridge", ["same", "tli", "slem", "slrs", "auto"])
@pytest.mark.parametrize(
    ("options", "confidence"),
    [
        ({}, 0.0),
        ({}, 0.3),
        ({"tree": "2x2"}, 0.0),
        ({"bridge": Slrs(2)}, 0.0),
        ({"bridge": Slrs(2)}, 0.3),
    ],
    ids=str,
)
def test_a_drafter_that_means_padding_drafts_nothing(bridge, options, confidence):
    target, other = letters(b"a", b"b"), letters(b"b", b"a")

    def drafter(feeds):
        return np.tile(np.float32([-np.inf, -np.inf, 0]), (sum(feed.rows for feed in feeds), 1))

    drafter.vocabulary = target if bridge == "same" else other
    run = SpeculativeSession(
        constant(target, [0.5, 0.5]),
        drafter,
        draft_confidence=confidence,
        sampling=SamplingParams(seed=1),
        **{"bridge": bridge, **options},
    )
    generation = run.generate([0], max_tokens=5)
    assert len(generation.tokens) == 5 and generation.stats.drafted == 0


def test_logits_that_may_be_drawn_from_may_be_weighed():
    peaked = constant(letters(b"a", b"b"), [0.5, 0.5])

    def huge(feeds):
        return peaked(feeds) + np.float32([1e7, 0])

    huge.vocabulary = peaked.vocabulary
    run = SpeculativeSession(huge, huge, sampling=GREEDY)
    assert run.generate([1], max_tokens=6).tokens == [0] * 6


def test_a_model_may_call_generate():
    run = session("same", sampling=SEEDED)
    target, inside = run.target, []

    def nested(feeds):
        if not inside:
            inside.append(True)
            run.generate(PROMPT, max_tokens=3)
        return target(feeds)

    nested.vocabulary = TARGET
    run.target = nested
    assert run.generate(PROMPT, max_tokens=40).tokens == tokens("same", SEEDED)
