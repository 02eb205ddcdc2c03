"""Steps of fixed shapes on one pool of caches, beside the ordinary pass over caches that grow."""

import random

import pytest
from hf_toys import (  # noqa: F401
    VOCAB,
    VOCABULARY,
    Feed,
    feed,
    gemma3,
    llama,
    mistral,
    one_thread,
    qwen2,
)

torch = pytest.importorskip("torch")

from anydraft.hf.model import HfModel  # noqa: E402
from anydraft.hf.static import StaticDecoder  # noqa: E402

FAMILIES = {"llama": llama, "qwen2": qwen2, "gemma3": gemma3, "mistral": mistral}


def both(make):
    """The same weights by the ordinary pass, one request at a time, and by static steps."""
    torch.manual_seed(1)
    model = make()
    return HfModel(model, VOCABULARY), HfModel(model, VOCABULARY, static=True)


def tree(dice, keep, request, nodes):
    """Behind `keep`, a chain of slots: a root and a tree below it, with a row each."""
    parents = [-1, *(dice.randrange(i) for i in range(1, nodes + 1))]
    depths = [0]
    for parent in parents[1:]:
        depths.append(depths[parent] + 1)
    positions = [keep + depth for depth in depths]
    tokens = [dice.randrange(VOCAB) for _ in parents]
    return Feed(request, tokens, positions, parents, range(keep), nodes + 1)


def close(got, expected):
    return float((got - expected).abs().max()) < 2e-4 * float(expected.abs().max())


@pytest.mark.parametrize("family", FAMILIES)
def test_rows_are_the_ordinary_ones(family):
    """Requests that join, grow past the pool, are cut back, branch and leave."""
    ordinary, static = both(FAMILIES[family])
    assert isinstance(static._decoder, StaticDecoder)
    dice, held, steps = random.Random(3), {}, 0
    for turn in range(60):
        if len(held) < 4 and (not held or dice.random() < 0.3):
            tokens = [dice.randrange(VOCAB) for _ in range(dice.choice([1, 9, 130]))]
            feeds = [feed(tokens, rows=1, request=turn)]
            held[turn] = len(tokens)
        elif dice.random() < 0.1:
            gone = dice.choice(list(held))
            held.pop(gone)
            for model in (ordinary, static):
                model.forget(gone)
            continue
        else:
            feeds = []
            branch = dice.random() < 0.3
            for request in dice.sample(list(held), dice.randint(1, len(held))):
                keep = max(held[request] - dice.randrange(3), 1)
                new = dice.randint(1, 5)
                tokens = [dice.randrange(VOCAB) for _ in range(new)]
                one = feed(tokens, keep, dice.randint(1, new), request)
                feeds.append(tree(dice, keep, request, new) if branch else one)
                held[request] = keep + 1 if branch else keep + new
            steps += 1
        assert close(static(feeds), ordinary(feeds)), (turn, feeds)
    assert steps > 20
    assert static._decoder._pool.rows_used() <= 4  # those that left gave their rows back
    assert set(static.graphs.values()) == {"not on a GPU"}


def test_a_kept_path_of_a_tree():
    ordinary, static = both(llama)
    prompt = [feed([3, 4, 5], rows=1)]
    branches = [Feed(0, [6, 7, 8, 9], [3, 4, 4, 5], [-1, 0, 0, 2], range(3), 4)]
    kept = [Feed(0, [10], [6], [-1], [0, 1, 2, 3, 5, 6], 1)]  # 6, 8, 9
    for feeds in (prompt, branches, kept):
        assert close(static(feeds), ordinary(feeds))


def test_rows_stay_when_the_next_step_runs():
    """As a drafter's must until its draft is judged."""
    _, static = both(llama)
    static([feed([3, 4, 5], rows=1)])
    first = static([feed([6], 3)])
    before = first.clone()
    static([feed([7], 4)])
    assert torch.equal(first, before)


class Replays:
    """Stands in for the capture of a graph: what was computed is replayed from fixed inputs."""

    def __init__(self, off=0.0, fails=False):
        self.off, self.fails, self.captured, self.replayed = off, fails, 0, 0

    def __call__(self, run):
        self.captured += 1
        if self.fails:
            raise RuntimeError("operation not permitted when stream is capturing")
        out = run().clone()

        def replay():
            self.replayed += 1
            out.copy_(run() + self.off)
            return out

        return replay


def with_capture(capture):
    torch.manual_seed(1)
    model = HfModel(llama(), VOCABULARY, static=True)
    model._decoder._capture = capture
    model._decoder._steps.clear()
    ordinary = HfModel(model.model, VOCABULARY)
    rows = []
    for one in (ordinary, model):
        one([feed([3, 4, 5], rows=1)])
        rows.append(torch.cat([one([feed([6 + i], 3 + i)]) for i in range(6)]))
        rows.append(one([feed([20, 21, 22], 5)]))
    assert close(rows[2], rows[0])
    assert close(rows[3], rows[1])
    return model.graphs


def test_a_graph_is_captured_once_a_shape():
    capture = Replays()
    assert with_capture(capture) == {(1, 1): "", (1, 4): ""}
    assert capture.captured == 2
    assert capture.replayed == 2 + 6 + 1  # compared with the eager pass, then every step


@pytest.mark.parametrize(
    ("capture", "why"),
    [(Replays(off=0.01), "logits differ by"), (Replays(fails=True), "cannot be captured")],
)
def test_a_graph_that_differs_is_left_off(capture, why):
    graphs = with_capture(capture)
    assert set(graphs) == {(1, 1), (1, 4)}
    assert all(why in reason for reason in graphs.values())


def test_static_by_force_says_what_it_cannot():
    # Not compiled: that takes a minute where nothing is kept of an earlier run, and a compiler.
    eager = torch.compiler.set_stance("force_eager")
    with eager, pytest.raises(ValueError, match="static=False or None"):
        HfModel(llama(attn_implementation="flex_attention"), VOCABULARY, static=True)
