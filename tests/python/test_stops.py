"""Stop strings: the text is that of plain decoding up to them, however rounds and tokens fall."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toys import DRAFTER, TARGET, TableModel, constant, letters

from anydraft import InputError, SamplingParams, SpeculativeSession
from anydraft.stops import StopStrings

STRINGS = st.lists(st.text("abc", min_size=1, max_size=4), max_size=3)


def before_first(text, strings):
    """The oracle, on the whole text: before the string that ends first, of several the longest."""
    found = [
        (at + len(s.encode()), at) for s in strings if (at := text.encode().find(s.encode())) >= 0
    ]
    return text.encode()[: min(found)[1]].decode() if found else None


@given(
    text=st.text("abé", max_size=30), strings=st.lists(st.text("abé", min_size=1)), data=st.data()
)
def test_what_comes_out_is_what_stands_before_the_first(text, strings, data):
    stops, left, shown = StopStrings(strings), text.encode(), b""
    while left and not stops.found:
        size = data.draw(st.integers(1, len(left)))
        piece, left = left[:size], left[size:]
        shown += stops.feed(piece)
        assert text.encode().startswith(shown)
    wanted = before_first(text, strings)
    assert stops.found == (wanted is not None)
    assert (shown + stops.rest()).decode() == (text if wanted is None else wanted)


@settings(deadline=None, max_examples=60)
@given(strings=STRINGS, seed=st.integers(0, 99), options=st.sampled_from(["slem", "tli", "slrs"]))
def test_texts_end_where_plain_decoding_with_the_same_tokens_would(strings, seed, options):
    session = SpeculativeSession(TableModel(TARGET, 3), TableModel(DRAFTER, 4), bridge=options)
    sampling = SamplingParams(seed=seed)
    whole = session.generate([0], max_tokens=24, sampling=sampling)
    run = session.stream([0], max_tokens=24, sampling=sampling, stop=strings)
    events = list(run)
    cut = run.generation
    assert "".join(event.text for event in events) == cut.text
    assert [event.tokens[0] for event in events] == cut.tokens
    assert cut.stats.accepted == [event.origin for event in events].count("accepted")
    assert not session.target.texts and not session.drafter.texts, "a cache was left"
    wanted = before_first(whole.text, strings)
    if wanted is None:
        assert (cut.text, cut.tokens) == (whole.text, whole.tokens)
        assert cut.finish_reason == whole.finish_reason
    else:
        assert (cut.text, cut.finish_reason) == (wanted, "stop")
        assert whole.tokens[: len(cut.tokens)] == cut.tokens  # no token behind the string's last
        assert len(TARGET.decode(cut.tokens[:-1])) < len(wanted) + max(map(len, strings))


@given(
    text=st.text("ab", max_size=12),
    strings=st.lists(st.text("ab", min_size=1, max_size=4), min_size=1),
    after=st.integers(0, 6),
    data=st.data(),
)
def test_below_the_least_length_only_what_is_whole_by_then_is_passed_over(
    text, strings, after, data
):
    """As vLLM, which looks back over the border once new text comes."""
    pieces, left = [], text
    while left:
        size = data.draw(st.integers(1, min(3, len(left))))
        pieces.append(left[:size])
        left = left[size:]
    border = len("".join(pieces[:after]))
    ends = [
        (at + len(string), at)
        for string in strings
        for at in range(len(text))
        if text.startswith(string, at) and at + len(string) > border
    ]
    wanted = text[: min(ends)[1]] if ends else text
    stops = StopStrings(strings, after)
    shown = b"".join([stops.feed(piece.encode()) for piece in pieces]) + stops.rest()
    assert (shown.decode(), stops.found) == (wanted, bool(ends))


def test_a_stop_string_across_the_least_length_is_found():
    stops = StopStrings(["STOP"], 2)
    shown = b"".join([stops.feed(piece) for piece in (b"a", b" ST", b"OP", b" b")])
    assert (shown, stops.found) == (b"a ", True)


def test_several_prompts_and_ids():
    target = constant(letters(b"a", b"b"), [0.4, 0.6])
    session = SpeculativeSession(target, "lookup", sampling=SamplingParams(temperature=0))
    for generation in session.generate(["a", "b"], max_tokens=9, stop="bbb"):
        assert (generation.text, generation.tokens) == ("", [1, 1, 1])
    assert session.generate("a", max_tokens=9, stop=[1]).tokens == [1]
    assert session.generate("abbb", max_tokens=2, stop="abb").text == "bb"  # the prompt's not
    for wrong in ("", [""], [None], [True]):
        with pytest.raises(InputError, match="stop of strings and token ids"):
            session.generate("a", stop=wrong)
