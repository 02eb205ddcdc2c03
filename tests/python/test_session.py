"""What a session promises: the same text whatever drafts it, clear errors, nothing lost."""

import json
import subprocess
import sys

import numpy as np
import pytest
from toys import DRAFTER, TARGET, TableModel, constant, letters, vocabulary

from anydraft import (
    Drafter,
    Error,
    InputError,
    SamplingParams,
    SpeculativeSession,
    Vocabulary,
)

GREEDY = SamplingParams(temperature=0)
SEEDED = SamplingParams(temperature=0.9, seed=7)
PROMPT = [0, 1, 2, 0, 1]


def session(bridge, *, draft_length=4, **options):
    """A session with the given bridge over the toys; "none" decodes plainly."""
    options = {"draft_confidence": 0, **options}
    target = TableModel(TARGET, 1, padding=3)
    if bridge in ("none", "lookup"):
        drafter = None if bridge == "none" else "lookup"
        return SpeculativeSession(target, drafter, draft_length=draft_length, **options)
    drafter = TableModel(TARGET if bridge == "same" else DRAFTER, 2)
    return SpeculativeSession(target, drafter, bridge=bridge, draft_length=draft_length, **options)


def tokens(bridge, sampling, prompt=PROMPT, **options):
    run = session(bridge, sampling=sampling, **options)
    return run.generate(prompt, max_tokens=40).tokens


@pytest.mark.parametrize("bridge", ["same", "tli", "slem", "lookup"])
@pytest.mark.parametrize("draft_length", [0, 1, 3, 9])
def test_greedy_text_is_that_of_plain_decoding(bridge, draft_length):
    for prompt in ([0], [3, 1], PROMPT):
        assert tokens(bridge, GREEDY, prompt, draft_length=draft_length) == tokens(
            "none", GREEDY, prompt
        )


@pytest.mark.parametrize("bridge", ["same", "tli"])
def test_a_greedy_drafter_is_one_hot_too(bridge):
    sampling = SamplingParams(temperature=1.2, seed=3)
    assert tokens(bridge, sampling, draft_sampling=GREEDY) == tokens("none", sampling)


@pytest.mark.parametrize("bridge", ["slem", "lookup"])
@pytest.mark.parametrize("draft_length", [1, 3, 9])
def test_seeded_text_with_one_hot_drafts_is_that_of_plain_decoding(bridge, draft_length):
    for seed in range(10):
        sampling = SamplingParams(temperature=1.2, top_p=0.95, seed=seed)
        plain = tokens("none", sampling)
        assert tokens(bridge, sampling, draft_length=draft_length) == plain
        if bridge == "slem":
            drawn = SamplingParams(temperature=1)
            assert tokens(bridge, sampling, draft_sampling=drawn) == plain


@pytest.mark.parametrize("bridge", ["none", "same", "tli", "slem"])
def test_the_same_seed_gives_the_same_text_in_another_process(bridge):
    code = f"import json, test_session as t;print(json.dumps(t.tokens({bridge!r}, t.SEEDED)))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        check=True,
        text=True,
        env={"PYTHONPATH": ":".join(sys.path), "PYTHONHASHSEED": "1"},
    )
    assert json.loads(done.stdout) == tokens(bridge, SEEDED)


def test_prompts_of_a_list_draw_from_streams_of_their_own():
    run = session("tli", sampling=SEEDED)
    several = run.generate([PROMPT, PROMPT], max_tokens=30)
    assert several[0].tokens == tokens("tli", SEEDED)[:30]
    assert several[0].tokens != several[1].tokens


def test_events_say_where_tokens_come_from_and_join_to_the_text():
    run = session("tli", sampling=SEEDED)
    stream = run.stream("abc", max_tokens=60)
    events = list(stream)
    generation = stream.generation
    assert "".join(event.text for event in events) == generation.text
    assert [event.tokens[0] for event in events] == generation.tokens
    origins = [event.origin for event in events]
    stats = generation.stats
    assert stats.accepted == origins.count("accepted")
    assert stats.target_calls - 1 <= len(origins) - origins.count("accepted") <= stats.target_calls
    assert generation.finish_reason in ("stop", "length")


def test_eos_inside_a_draft_ends_the_request():
    (eos,) = TARGET.role("eos")
    for seed in range(40):
        generation = session("slem", sampling=SamplingParams(seed=seed)).generate(PROMPT)
        assert eos not in generation.tokens[:-1]
        assert (generation.finish_reason == "stop") == (generation.tokens[-1] == eos)


def test_split_characters_are_held_back():
    text = "é🎉x".encode()
    table = Vocabulary.from_bytes(
        [bytes([byte]) for byte in range(256)], encoder=lambda text: list(text.encode())
    )

    def spell(feeds):
        (feed,) = feeds
        length = len(feed.keep) + len(feed.tokens)
        rows = np.zeros((feed.rows, 256), dtype=np.float32)
        for i in range(feed.rows):
            rows[i, text[(length - feed.rows + i) % len(text)]] = 50
        return rows

    spell.vocabulary = table
    run = SpeculativeSession(spell, None, sampling=GREEDY).stream([65], max_tokens=7)
    assert [event.text for event in run] == ["", "é", "", "", "", "🎉", "x"]
    cut = SpeculativeSession(spell, None, sampling=GREEDY)
    assert cut.generate([65], max_tokens=4).text == "é\ufffd"
    # What an unfinished text shows is what its events have shown, wherever it is looked at.
    for given_up in range(8):
        for stop in ((), "x!", "\N{PARTY POPPER}x"):
            run = cut.stream([65], max_tokens=8, stop=stop)
            shown = ""
            for count, event in enumerate(run, 1):
                shown += event.text
                assert run.generation.text == shown
                if count == given_up:
                    run.cancel()
            assert run.generation.text == shown
            assert "\ufffd" not in shown or run.generation.finish_reason == "length"


def test_runs_that_take_turns_do_not_share_a_cache():
    run = session("tli", sampling=SEEDED)
    first = run.stream(PROMPT, max_tokens=30)
    seen = [next(first).tokens[0], next(first).tokens[0]]
    other = run.generate([2, 2, 0], max_tokens=30)
    seen += [event.tokens[0] for event in first]
    assert seen == tokens("tli", SEEDED)[:30]
    assert other.tokens == tokens("tli", SEEDED, [2, 2, 0])[:30]
    given_up = run.stream(PROMPT, max_tokens=30)
    next(given_up)
    given_up.cancel()
    assert given_up.generation.finish_reason == "cancelled"
    assert run.target.texts == run.drafter.texts == {}


def test_tokens_the_target_has_no_logit_for_are_not_proposed_to_it():
    wide = letters(b"a", b"b", b"c")
    target, drafter = constant(wide, [0.6, 0.4]), constant(wide, [0.3, 0.3, 0.4])
    for bridge in ("same", "tli", "slem"):
        run = SpeculativeSession(
            target, drafter, bridge=bridge, sampling=SEEDED, draft_sampling=SamplingParams()
        )
        assert len(run.generate([0], max_tokens=50).tokens) == 50


def test_only_what_is_emitted_counts_as_accepted():
    (eos,) = TARGET.role("eos")
    target = TableModel(TARGET, 1, spread=0)
    target.row = lambda text: np.eye(TARGET.size, dtype=np.float32)[eos] * 50
    run = SpeculativeSession(target, "lookup", draft_length=4, sampling=GREEDY)
    generation = run.generate([0, 1, eos, 2, eos, 2, 0, 1])
    assert (generation.tokens, generation.finish_reason) == ([eos], "stop")
    assert generation.stats.accepted == 1


def test_auto_takes_the_same_vocabulary_where_it_is_the_same():
    again = vocabulary([("a", "b"), ("b", "c"), ("ab", "c")])
    assert SpeculativeSession(TableModel(TARGET, 1), TableModel(again, 2)).bridge == "same"
    assert SpeculativeSession(TableModel(TARGET, 1), TableModel(DRAFTER, 2)).bridge == "auto"


def test_a_drafter_that_agrees_is_kept_whole():
    target = TableModel(TARGET, 1)
    run = SpeculativeSession(target, TableModel(TARGET, 1), bridge="same", sampling=SEEDED)
    stats = run.generate(PROMPT, max_tokens=40).stats
    assert stats.accepted == stats.drafted > 0


def test_the_drafters_cache_is_cut_no_further_than_needed():
    """Across vocabularies a round feeds the drafter its unseen tokens, not the text again."""
    run = session("tli", sampling=GREEDY)
    fed = []
    drafter = run.drafter

    def counting(feeds):
        fed.extend(len(feed.tokens) for feed in feeds)
        return drafter(feeds)

    counting.vocabulary = DRAFTER
    run.drafter = counting
    run.generate([*PROMPT] * 20, max_tokens=60)
    # A letter soup has no word boundaries: at most the 8 last tokens are tried again.
    assert fed[0] > 40
    assert max(fed[1:]) <= 8 + 2 * 5


def test_a_kept_draft_stays_in_the_drafters_cache():
    """A drafter whose drafts are kept whole is fed every token of the text once."""
    drafter = TableModel(TARGET, 1)
    positions = []

    def counting(feeds):
        positions.extend(position for feed in feeds for position in feed.positions)
        return drafter(feeds)

    counting.vocabulary = TARGET
    run = SpeculativeSession(
        TableModel(TARGET, 1), counting, bridge="same", draft_confidence=0, sampling=GREEDY
    )
    stats = run.generate(PROMPT, max_tokens=40).stats
    assert stats.accepted == stats.drafted > 10
    assert sorted(positions) == list(range(max(positions) + 1))


def test_duplicate_bytes_add_up():
    """q(a) = .3 + .3: against a target of .6, .4 every draft is accepted."""
    target = constant(letters(b"a", b"b"), [0.6, 0.4])
    drafter = constant(letters(b"a", b"b", b"a"), [0.3, 0.4, 0.3])
    run = SpeculativeSession(
        target, drafter, bridge="tli", draft_confidence=0, sampling=SamplingParams(seed=7)
    )
    stats = run.generate([0], max_tokens=300).stats
    assert stats.accepted == stats.drafted > 100


def test_drafter_mass_outside_the_shared_tokens_is_left_out():
    target = constant(letters(b"a", b"b"), [0.6, 0.4])
    drafter = constant(letters(b"x", b"a", b"b", b""), [0.5, 0.24, 0.16, 0.1])
    run = SpeculativeSession(target, drafter, bridge="tli", draft_confidence=0, sampling=SEEDED)
    stats = run.generate([0], max_tokens=300).stats
    assert stats.accepted == stats.drafted > 100
    none = constant(drafter.vocabulary, [1.0, 1e-46, 1e-46, 1e-46])  # float32: no mass but on x
    run = SpeculativeSession(target, none, bridge="tli", draft_confidence=0, sampling=SEEDED)
    stats = run.generate([0], max_tokens=20).stats
    assert (stats.drafted, stats.target_calls) == (0, 20)


def test_an_unsure_drafter_stops_early():
    target, drafter = (constant(letters(b"a", b"b"), [0.6, 0.4]) for _ in range(2))
    for confidence, most in [(0, 8), (0.3, 3), (0.59, 2), (0.61, 1), (1, 1)]:
        run = SpeculativeSession(
            target, drafter, draft_length=8, draft_confidence=confidence, sampling=SEEDED
        )
        stats = run.generate([0], max_tokens=1 + most).stats
        assert (stats.drafted, stats.target_calls) == (most, 1)
    with pytest.raises(InputError, match=r"draft_confidence in \[0, 1\], got 1\.5"):
        SpeculativeSession(target, drafter, draft_confidence=1.5)


def test_specials_go_over_by_role_and_are_spelled_where_there_is_none():
    names = {"<s>": 2, "</s>": 3, "<x>": 4}
    roles = {"bos": [2], "eos": [3]}
    target = constant(
        letters(b"a", b"b", b"", b"", b"", specials=names, roles=roles), [0.5, 0.5, 0, 0, 0]
    )
    letter = letters(
        b"b", b"a", b"", b"", b"<", b"x", b">",
        specials={"<|start|>": 2, "<|end|>": 3}, roles={"bos": [2], "eos": [3]}, prefix=[2],
    )  # fmt: skip
    drafter = constant(letter, [0.5, 0.5, 0, 0, 0, 0, 0])
    run = SpeculativeSession(target, drafter, bridge="tli", sampling=SEEDED)
    run.generate([2, 0, 4, 3, 1], max_tokens=2)
    assert drafter.fed[0].tokens == [2, 1, 4, 5, 6, 3, 0]


def test_a_split_character_in_the_middle_goes_over_in_bytes():
    """The text stands in half a character when the drafter is asked: bytes, not U+FFFD."""
    spelled = Vocabulary.from_bytes(
        [bytes([byte]) for byte in range(256)], encoder=lambda text: list(text.encode())
    )
    target, drafter = constant(spelled, [1 / 256] * 256), constant(spelled, [1 / 256] * 256)
    run = SpeculativeSession(target, drafter, bridge="tli", sampling=SEEDED)
    run.generate([0xF0, 0x9F, 65, 0xC3], max_tokens=2)
    assert drafter.fed[0].tokens == [0xF0, 0x9F, 65, 0xC3]


class OnlyDLPack:
    """What has no copy() of its own."""

    def __init__(self, rows):
        self.__dlpack__, self.__dlpack_device__ = rows.__dlpack__, rows.__dlpack_device__


class Reusing(TableModel):
    """Writes every call's rows into the same memory."""

    reuses_rows = True
    buffer = None
    shown = staticmethod(lambda rows: rows)

    def __call__(self, feeds):
        rows = super().__call__(feeds)
        if self.buffer is None:
            self.buffer = np.empty((64, rows.shape[1]), np.float32)
        self.buffer[: len(rows)] = rows
        return self.shown(self.buffer[: len(rows)])


@pytest.mark.parametrize("shown", ["numpy", "torch", "dlpack"])
@pytest.mark.parametrize("tree", [None, "2x2"])
@pytest.mark.parametrize("bridge", ["same", "tli"])
def test_a_model_that_writes_into_its_buffers_again_says_so(bridge, tree, shown):
    torch = pytest.importorskip("torch")
    ways = {"numpy": lambda rows: rows, "torch": torch.from_numpy, "dlpack": OnlyDLPack}
    texts = []
    for kind in (TableModel, Reusing):
        models = [kind(TARGET, 1), kind(TARGET if bridge == "same" else DRAFTER, 2)]
        for model in models:
            model.shown = ways[shown]
        run = SpeculativeSession(*models, bridge=bridge, tree=tree, sampling=SEEDED)
        both = run.generate([PROMPT, [2, 1]], max_tokens=40)
        drafts = Drafter(TARGET, models[1], bridge=bridge, tree=tree)
        [draft] = drafts.propose(["r"], [PROMPT], SEEDED, 4)
        texts.append([*(made.tokens for made in both), draft.tokens, draft.logits.tolist()])
    assert texts[0] == texts[1]


def test_requests_that_take_no_handle_are_driven_until_none_is_active():
    run = session("tli", sampling=SEEDED)
    run.add(PROMPT, max_tokens=20), run.add([2], max_tokens=3)
    texts, without = {}, 0
    while run.active:
        events = run.step()
        without += not events
        for handle, event in events:
            texts.setdefault(handle.id, []).extend(event.tokens)
    assert without > 0  # the drafter's calls
    assert sorted(map(len, texts.values()))[0] == 3 and tokens("tli", SEEDED)[:20] in texts.values()


def test_the_statistics_say_which_costs_were_used():
    target, drafter = TableModel(TARGET, 1), TableModel(DRAFTER, 2)
    target.row_costs, drafter.row_costs = np.array([0.0, 2.0, 3.0]), np.array([0, 1, 1])
    run = SpeculativeSession(target, drafter, draft_length="auto")
    stats = run.generate([0], max_tokens=3).stats
    assert (stats.row_costs, stats.draft_cost) == ([0, 1, 1.5], 0.5)
    wrong = ["abc", [1.0], [0, 0, 1], [0, 1, float("inf")], [0, -1], 3, [0, None]]
    for costs in wrong:
        drafter.row_costs = costs
        with pytest.raises(InputError, match="row_costs"):
            SpeculativeSession(target, drafter)


def test_the_package_does_not_import_torch():
    code = "import sys, anydraft; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": ":".join(sys.path)})
    assert issubclass(InputError, Error)
