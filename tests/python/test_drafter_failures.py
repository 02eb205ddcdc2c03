"""A drafter whose model fails, or returns no logits: what is lost, and for whom."""

import numpy as np
import pytest
from test_drafter import PARAMS, drafter, model_for
from toys import DRAFTER, TARGET, TableModel

from anydraft import Drafter, NonFiniteLogitsError


def test_a_model_that_fails_may_be_called_again():
    steady, model = drafter("slrs", tree="2x2"), model_for("slrs")

    def flaky(feeds):
        rows = model(feeds)
        if model.calls in (2, 5):
            raise ConnectionError("the accelerator went away")
        return rows

    flaky.vocabulary = DRAFTER
    one = Drafter(TARGET, flaky, bridge="slrs", tree="2x2")
    context, fails = [0, 1], 0
    while fails < 2:
        try:
            [draft] = one.propose(["a"], [context], PARAMS, 4)
        except ConnectionError:
            fails += 1
            continue
        [new] = steady.propose(["a"], [context], PARAMS, 4)
        assert draft.tokens == new.tokens
        context = [*context, *draft.tokens[1:2]]


def test_bad_rows_are_an_error_and_the_next_call_is_a_new_one():
    model = model_for("tli")

    def poisoned(feeds):
        rows = model(feeds)
        return np.full_like(rows, np.nan) if poisoned.on else rows

    poisoned.vocabulary, poisoned.on = DRAFTER, True
    one = Drafter(TARGET, poisoned, bridge="tli")
    with pytest.raises(NonFiniteLogitsError):
        one.propose(["a"], [[0]], PARAMS, 4)
    poisoned.on = False
    [draft] = one.propose(["a"], [[0]], PARAMS, 4)
    [new] = drafter("tli").propose(["a"], [[0]], PARAMS, 4)
    assert draft.tokens == new.tokens


def test_bad_rows_of_one_request_cost_its_own_draft_alone(caplog):
    model, contexts = model_for("tli"), [[0], [1, 0], [1]]

    def poisoned(feeds):
        rows, end = model(feeds), 0
        poisoned.request = poisoned.request or feeds[1].request
        for feed in feeds:
            end += feed.rows
            if feed.request == poisoned.request:
                rows[end - feed.rows : end] = np.nan
        return rows

    poisoned.vocabulary, poisoned.request = DRAFTER, None
    one, steady = Drafter(TARGET, poisoned, bridge="tli"), drafter("tli")
    for _ in range(2):
        drafts = one.propose("abc", contexts, PARAMS, 4)
        expected = steady.propose("abc", contexts, PARAMS, 4)
        assert drafts[1].chain == [] and drafts[1].tokens == contexts[1][-1:]
        assert [drafts[i].chain for i in (0, 2)] == [expected[i].chain for i in (0, 2)]
        assert "no draft for a request this time" in caplog.text
        kept = [draft.chain[:1] for draft in expected]
        contexts = [[*text, *new] for text, new in zip(contexts, kept, strict=True)]


def test_a_cut_text_and_a_call_that_fails():
    """The next feed asks for no slot that the failed one did not keep."""

    class Failing(TableModel):  # which refuses to keep slots that it has not
        fails = False

        def __call__(self, feeds):
            if not self.fails:
                return super().__call__(feeds)
            for feed in feeds:  # it has cut its cache when it fails
                slots = self.texts[feed.request]
                self.texts[feed.request] = [slots[slot] for slot in feed.keep]
            raise MemoryError

    model = Failing(TARGET, 2)
    one = Drafter(TARGET, model, bridge="same", draft_length=1)
    text = [0, 1, 0, 1, 1]
    one.propose(["a"], [text], PARAMS, 1)
    model.fails = True
    with pytest.raises(MemoryError):
        one.propose(["a"], [text], PARAMS, 1)
    model.fails = False
    assert len(one.propose(["a"], [[*text, 0]], PARAMS, 1)[0].chain) == 1
