"""What a request does to itself in a call of its own models costs no other request anything."""

import contextlib

import pytest
from test_session import GREEDY, PROMPT, SEEDED, session, tokens
from toys import DRAFTER, TARGET, TableModel

from anydraft import SpeculativeSession, Vocabulary


@pytest.mark.parametrize("side", ["target", "drafter"])
def test_a_request_is_cancelled_in_a_call_of_a_model(side):
    run = session("tli", sampling=SEEDED)
    model, calls = getattr(run, side), []

    def cancelling(feeds):
        calls.append(len(feeds))
        if len(calls) == 6:
            first.cancel()
        return model(feeds)

    cancelling.vocabulary = model.vocabulary
    setattr(run, side, cancelling)
    first, second = (run.stream(PROMPT, max_tokens=40) for _ in range(2))
    run._finish([first, second], 2)
    assert first.generation.finish_reason == "cancelled" and 2 in calls
    assert first.tokens == second.tokens[: len(first.tokens)]
    assert second.tokens == tokens("tli", SEEDED)


def test_a_processor_cancels_its_request_and_raises():
    run = session("tli", sampling=SEEDED)

    def cancelling(prompt, output, logits):
        if len(output) > 3:
            first.cancel()
            raise ConnectionError
        return logits

    first = run.stream(PROMPT, max_tokens=40, logits_processor=cancelling)
    second = run.stream(PROMPT, max_tokens=40)
    with pytest.raises(ConnectionError):
        run._finish([first, second], 2)
    assert first.generation.finish_reason == "cancelled"
    assert second.tokens == tokens("tli", SEEDED)


@pytest.mark.parametrize("stop", ["a", "ca", "bb"])
def test_an_interrupt_in_the_encoder_costs_nothing_wherever_it_comes(stop):
    """Bridge "auto" spells what is kept when a round is settled: its tokens are emitted by then,
    and may have ended the text by a stop string."""
    calls, interrupts, at = [], [], None

    def encode(text):
        calls.append(text)
        if len(calls) == at:
            interrupts.append(text)
            raise KeyboardInterrupt
        return TARGET.encode(text)

    spelt = [TARGET.token_bytes(i) or b"" for i in range(TARGET.size)]
    target = Vocabulary.from_bytes(spelt, encoder=encode)

    def text(seed, interrupted):
        nonlocal at
        at = None
        models = TableModel(target, seed), TableModel(DRAFTER, seed + 1)
        run = SpeculativeSession(*models, bridge="auto", sampling=GREEDY)
        handle = run.stream(PROMPT, max_tokens=40, stop=[stop])
        calls.clear()
        at = interrupted
        while not handle.ended:
            with contextlib.suppress(KeyboardInterrupt):
                list(handle)
        told = handle.generation
        return told.text, told.tokens, told.finish_reason

    for seed in range(12):
        wanted = text(seed, None)
        for call in range(1, len(calls) + 1):
            assert text(seed, call) == wanted
    assert len(interrupts) > 20
