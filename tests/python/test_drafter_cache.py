"""What the engine says of a drafter's cache, beside the text that the cache holds."""

import pytest
from toys import TableModel, engine, letters

from anydraft import SamplingParams, Vocabulary

BYTES = Vocabulary.from_bytes(
    [b"a", b"b", b"\xc3", b"\xa9"],
    encoder=lambda text: [b"ab\xc3\xa9".index(byte) for byte in text.encode()],
)
LETTERS = letters(b"a", b"b", "é".encode())


def bytewise(seed):
    """A model that writes é in two tokens, and never half of it alone."""
    model = TableModel(BYTES, seed)
    plain = model.row

    def row(prefix):
        logits = plain(prefix).copy()
        logits[3] = 30 if prefix[-1] == 2 else -30
        return logits

    model.row = row
    return model


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("bridge", ["tli", "slem"])
def test_a_kept_path_outlasts_rounds_in_which_the_drafter_is_told_nothing(bridge, seed):
    """Behind half a character there is no draft; the slots kept before it stay what they were."""
    target, drafter = bytewise(seed), TableModel(LETTERS, seed + 10)
    core = engine(BYTES.table, LETTERS.table, bridge=bridge, widths=[2, 2])
    id = core.add([0], sampling=SamplingParams(seed=seed), max_tokens=200)
    told, untold = 0, 0
    while (work := core.next()).model != "idle":
        model = target if work.model == "target" else drafter
        core.feed(work, model(work.feeds))
        [feed] = work.feeds
        text = [0, *(token for token, *_ in core.emitted(id))]
        if work.model == "target":
            untold += feed.rows == 1
        elif feed.rows == 1:  # the tree's root
            [*_, held] = drafter.texts[feed.request]
            assert LETTERS.decode(held) == BYTES.decode(text)
            told += 1
    core.check(id)
    assert told > 20 and untold > 5
