"""Trees in the session: feeds that models can trust, and text that does not depend on them."""

import contextlib
import random

import numpy as np
import pytest
from toys import DRAFTER, TARGET, TableModel, engine

from anydraft import (
    InputError,
    NonFiniteLogitsError,
    SamplingParams,
    SpeculativeSession,
    TreeShape,
)

GREEDY = SamplingParams(temperature=0)
SHAPES = ["2x2x2", "4,2,1,1", "1,1,3", "dynamic:2,2,4,8", "dynamic:3,4,3,11"]


class Poisoned(TableModel):
    """Now and then its rows are no numbers, after its cache has taken the feed in."""

    def __init__(self, *args, **named):
        super().__init__(*args, **named)
        self.dice = random.Random(1)

    def __call__(self, feeds):
        answer = super().__call__(feeds)
        return answer * np.nan if self.dice.random() < 0.3 else answer


class Flaky(TableModel):
    """Fails now and then, after its cache has taken the feed in, or only half of it."""

    def __init__(self, *args, **named):
        super().__init__(*args, **named)
        self.dice = random.Random(1)

    def __call__(self, feeds):
        answer = super().__call__(feeds)
        if self.dice.random() < 0.3:
            for feed in feeds:
                slots = self.texts[feed.request]
                self.texts[feed.request] = slots[: len(slots) - self.dice.randrange(2)]
            raise RuntimeError("out of memory")
        return answer


def text_of(session, prompt, sampling, tokens=40):
    run = session.stream(prompt, max_tokens=tokens, sampling=sampling)
    while run.generation.finish_reason is None:
        with contextlib.suppress(RuntimeError, NonFiniteLogitsError):
            list(run)
    return run.generation.tokens


@pytest.mark.parametrize("tree", SHAPES)
@pytest.mark.parametrize("bridge", ["same", "tli", "slem"])
@pytest.mark.parametrize("flaky", [False, True])
def test_greedy_text_does_not_depend_on_the_tree(tree, bridge, flaky):
    kind = Flaky if flaky else TableModel
    target = kind(TARGET, 1)
    drafter = kind(TARGET if bridge == "same" else DRAFTER, 2)
    plain = text_of(SpeculativeSession(TableModel(TARGET, 1)), [0, 1], GREEDY)
    for scheme in ("iid", "spechub", "without_replacement"):
        session = SpeculativeSession(target, drafter, bridge=bridge, tree=tree, scheme=scheme)
        assert text_of(session, [0, 1], GREEDY) == plain


@pytest.mark.parametrize("tree", SHAPES)
@pytest.mark.parametrize("bridge", ["same", "tli", "slem"])
def test_a_failed_call_changes_nothing(tree, bridge):
    """The same seed gives the same text, whether or not models fail on the way."""
    sampling = SamplingParams(temperature=1.2, seed=4)
    texts = []
    for kind in (TableModel, Flaky, Poisoned):
        target = kind(TARGET, 3)
        drafter = kind(TARGET if bridge == "same" else DRAFTER, 2)
        session = SpeculativeSession(
            target, drafter, bridge=bridge, tree=tree, scheme="without_replacement"
        )
        texts.append(text_of(session, [2, 1, 0], sampling))
    assert texts[0] == texts[1] == texts[2]


def test_one_model_may_be_target_and_drafter():
    model = TableModel(TARGET, 1)
    session = SpeculativeSession(model, model, tree="2x2", draft_confidence=0)
    stats = session.generate([0], max_tokens=31, sampling=GREEDY).stats
    assert stats.accepted == 2 * (stats.target_calls - 1) + 1 or stats.tokens < 31
    assert model.texts == {}


def test_a_chain_is_fed_token_by_token_and_a_tree_as_a_tree():
    feeds = []

    class Watched(TableModel):
        def __call__(self, batch):
            feeds.extend(batch)
            return super().__call__(batch)

    drafter = Watched(TARGET, 2)
    for tree, lengths in (("1x1x1", [2, 1, 1]), ("2x2", [2, 2]), ("2x1x1", [2, 2, 4])):
        feeds.clear()
        session = SpeculativeSession(
            TableModel(TARGET, 1), drafter, tree=tree, scheme="without_replacement",
            draft_confidence=0, sampling=SamplingParams(temperature=2.0, seed=1),
        )  # fmt: skip
        next(iter(session.stream([0, 1], max_tokens=6)))
        assert [len(feed.tokens) for feed in feeds] == lengths


def test_what_does_not_go_together_is_said_at_once():
    target, drafter = TableModel(TARGET, 1), TableModel(DRAFTER, 2)
    for options, message in [
        ({"tree": "2y2"}, "2x2x2"),
        ({"tree": "0x2"}, "at least one child a level, got 0"),
        ({"tree": "dynamic:2,2"}, "WIDTH,BEAM,DEPTH,NODES"),
        ({"tree": TreeShape((2, 2), max_nodes=4, depth=2, beam=1)}, "one width"),
        ({"tree": TreeShape((2,), max_nodes=4, depth=0, beam=1)}, "depth >= 1"),
        ({"scheme": "hubs"}, "a kind out of"),
        ({"scheme": "sparse"}, "got sparse"),
        ({"verifier": "match"}, "takes proposals of kind iid"),
        ({"verifier": "multipath", "tree": "2x2"}, "paths that only merge"),
        ({"verifier": "multipath", "scheme": "spechub"}, "takes proposals of kind spechub"),
        ({"verifier": "block", "tree": "2"}, "a chain with verifier block"),
        ({"verifier": "fast"}, "a verifier out of"),
    ]:
        with pytest.raises(InputError, match=message):
            SpeculativeSession(target, drafter, bridge="tli", **options)


def test_the_core_names_its_feeds():
    core = engine(TARGET.table, TARGET.table, bridge="same", draft_length=2)
    request = core.add([0, 1], sampling=GREEDY)
    work = core.next()
    which, (feed,) = work.model, work.feeds
    assert (which, feed.request, feed.rows) == ("drafter", request + 1, 1)
    assert (feed.tokens, feed.positions, feed.parents) == ([0, 1], [0, 1], [-1, 0])
    assert list(feed.keep) == []
