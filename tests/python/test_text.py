"""Text that a function expects, as a drafter."""

import gc
import weakref

import pytest
from real import vocabulary_of
from test_real_pairs import GREEDY, TEXT, Follower
from toys import DRAFTER, TARGET, TableModel

from anydraft import (
    Drafter,
    InputError,
    SamplingParams,
    SpeculativeSession,
    Text,
    Vocabulary,
    VocabularyError,
)
from anydraft.text import spelt_behind


def expected(so_far):
    """The rest of TEXT, but with a word that does not come."""
    at = TEXT.decode().find(so_far[-30:])
    rest = TEXT.decode()[at + len(so_far[-30:]) :]
    return rest.replace("people", "nobody") if at >= 0 else None


@pytest.mark.parametrize("name", ["llama2", "gpt2", "ai21"])
def test_what_is_expected_is_kept_and_greedy_text_is_plain_decoding_s(name):
    """SentencePiece writes a space before a text, GPT-2 does not."""
    vocabulary = vocabulary_of(name)
    target, prompt = Follower(vocabulary, "target", 0), vocabulary.encode(TEXT[:60])
    plain = SpeculativeSession(target, sampling=GREEDY).generate(prompt, max_tokens=60)
    session = SpeculativeSession(target, Text(expected), sampling=GREEDY, draft_length=6)
    told = session.generate(prompt, max_tokens=60)
    assert told.tokens == plain.tokens
    assert told.stats.accepted > 35
    assert told.stats.target_calls < 25
    assert {event.source for event in session.last.history if event.origin == "accepted"} == {
        "text"
    }


@pytest.mark.parametrize("name", ["llama2", "gpt2", "ai21"])
def test_behind_other_tokens_a_text_is_spelt_as_with_them(name):
    vocabulary = vocabulary_of(name)
    text = TEXT.decode()[:150]
    for word in ("float", "radius", " return", "141", "naïve"):
        at = text.index(word)
        before = vocabulary.encode(text[:at])
        ids = spelt_behind(vocabulary, before, text[at:])
        whole = vocabulary.encode(text)
        assert ids == whole[len(whole) - len(ids) :]
        assert vocabulary.decode(ids).decode() in (text[at:], "")
        assert (ids == []) == (whole[: len(before)] != before)


def test_seeded_text_is_plain_decoding_s():
    model, sampling = TableModel(TARGET, 1), SamplingParams(seed=3, max_tokens=30, ignore_eos=True)
    plain = SpeculativeSession(model).generate([0, 1], sampling=sampling)
    for text in ("abcab", "cb", "", None):
        session = SpeculativeSession(model, Text(lambda so_far, text=text: text))
        told = session.generate([0, 1], sampling=sampling)
        assert told.tokens == plain.tokens
        assert (told.stats.drafted > 0) == bool(text)


def test_a_function_that_fails_ends_its_own_request_alone():
    def fails(so_far):
        if so_far.startswith("b"):
            raise OSError("no such document")
        return "ab"

    session = SpeculativeSession(TableModel(TARGET, 1), Text(fails), sampling=GREEDY)
    with pytest.raises(OSError, match="no such document"):
        session.generate(["a", "b"], max_tokens=6)
    good, bad = (run.generation for run in session.runs)
    assert len(good.tokens) == 6 and bad.tokens == []


def test_an_iterator_that_ends_is_no_end_of_the_text():
    session = SpeculativeSession(TableModel(TARGET, 1), Text(lambda so_far: next(iter(()))))
    with pytest.raises(InputError, match="got StopIteration"):
        list(session.stream("a", max_tokens=3))


def test_a_session_that_its_function_knows_is_freed():
    class Service:
        def __init__(self):
            self.session = SpeculativeSession(TableModel(TARGET, 1), Text(self.expect))

        def expect(self, so_far):
            return "ab"

    service = Service()
    service.session.generate("a", max_tokens=3)
    gone = weakref.ref(service)
    del service
    gc.collect()
    assert gone() is None


def test_text_that_the_target_cannot_spell_is_not_drafted():
    """Unigram without bytes has not every character."""
    vocabulary = vocabulary_of("xlm_roberta")
    before = vocabulary.encode("hello")
    for text in (" world", "\n\n", "{\x01", "\U0010ffff", "\ud800"):
        ids = spelt_behind(vocabulary, before, text)
        assert ids == [] or vocabulary.decode(ids).decode() == text
    assert spelt_behind(vocabulary, before, "\U0010ffff") == []


@pytest.mark.parametrize("broken", ["raises", "a str", "out of range", "does not join"])
@pytest.mark.parametrize("bridge", ["slem", "slrs", "auto", "text", "lookup"])
def test_an_encoder_that_fails_costs_drafts_and_no_request(bridge, broken, caplog):
    """Of the target, while drafting: text that it cannot spell."""

    def encode(text):
        if broken == "raises":
            raise OSError("no such table")
        return {"a str": "ab", "out of range": [99], "does not join": [0, 0]}[broken]

    table = [TARGET.token_bytes(i) or b"" for i in range(TARGET.size)]
    ends = {"specials": TARGET.specials, "roles": {"eos": TARGET.role("eos")}}
    target = TableModel(Vocabulary.from_bytes(table, encoder=encode, **ends), 1)
    sampling = SamplingParams(temperature=0, ignore_eos=True)
    model = {"text": Text(lambda so_far: "abcab"), "lookup": "lookup"}.get(bridge)
    drafter = {"drafter": model} if model else {"drafter": TableModel(DRAFTER, 2), "bridge": bridge}
    session = SpeculativeSession(target, sampling=sampling, **drafter)
    plain = SpeculativeSession(target, sampling=sampling)
    told = session.generate([0, 1, 0, 1], max_tokens=30)
    assert told.tokens == plain.generate([0, 1, 0, 1], max_tokens=30).tokens
    if bridge in ("slem", "text") and broken != "does not join":
        assert bridge == "slem" or told.stats.drafted == 0
        assert sum("from the encoder" in record.message for record in caplog.records) == 1
    if broken != "does not join":
        with pytest.raises(VocabularyError, match="from the encoder, got"):
            target.vocabulary.encode("ab")


def test_mistakes():
    model = TableModel(TARGET, 1)
    for wrong in (3, b"ab"):
        session = SpeculativeSession(model, Text(lambda so_far, wrong=wrong: wrong))
        with pytest.raises(InputError, match="expected text or None, got"):
            session.generate("a", max_tokens=3)
    with pytest.raises(InputError, match=r'expected a function as "package\.module:function"'):
        Text.of_name("os.path")
    with pytest.raises(InputError, match="expected a function"):
        Text.of_name(".path:sep")
    with pytest.raises(InputError, match="got str"):
        Text.of_name("os.path:sep")


def test_a_host_s_drafter():
    drafter = Drafter(TARGET, Text(lambda so_far: "abc"), draft_length=2)
    [draft] = drafter.propose(["r"], [TARGET.encode("cb")], SamplingParams(seed=1), 10)
    assert draft.is_certain and TARGET.decode(draft.chain) in (b"ab", b"abc")
