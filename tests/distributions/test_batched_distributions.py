"""Exact distributions through the batched path: one request branches while others run beside it."""

import numpy as np
import pytest
from toys import TableModel

from anydraft import SamplingParams, _core
from anydraft.drafts import PROPOSAL_KINDS
from tests.distributions.sessions import (
    FILTERED,
    PLAIN,
    exact_distribution,
    largest_difference,
    models,
    play,
)

BESIDE = [
    ((1, 0, 2), SamplingParams(temperature=0.9, seed=3)),
    ((0,), SamplingParams(temperature=0, seed=4)),
]
SHAPES = [
    {"bridge": "none"},
    {"bridge": "lookup"},
    {"bridge": "same"},
    {"bridge": "tli"},
    {"bridge": "slem"},
    {"bridge": "slrs"},
    {"bridge": "auto"},
    {"bridge": "slrs", "stop_tokens": 2, "draft_budget": 3},
    {"bridge": "tli", "widths": [2, 2], "scheme": PROPOSAL_KINDS["spechub"]},
    {"bridge": "tli", "widths": [2, 1], "scheme": PROPOSAL_KINDS["without_replacement"]},
    {"bridge": "tli", "widths": [2, 1], "verifier": "multipath"},
    {"bridge": "slem", "widths": [2, 1]},
]


class Wide:
    """The target with so many more ids of no mass that the engine takes its threads."""

    def __init__(self, model, width=20000):
        self.model, self.width, self.vocabulary = model, width, model.vocabulary
        self.texts = model.texts

    def __call__(self, feeds):
        rows = self.model(feeds)
        wide = np.full((len(rows), self.width), -np.inf, np.float32)
        wide[:, : rows.shape[1]] = rows
        return wide


@pytest.fixture
def three_threads():
    before = _core.threads()
    _core.set_threads(3)
    yield
    _core.set_threads(before)


def pair(bridge):
    target, drafter = models("longer on either side", seed=7)
    if bridge == "same":
        drafter = TableModel(target.vocabulary, 9)
    return target, None if bridge in ("none", "lookup", "text") else drafter


@pytest.mark.parametrize("params", [PLAIN, FILTERED])
@pytest.mark.parametrize("options", SHAPES, ids=str)
def test_neighbours_change_no_distribution(options, params):
    target, drafter = pair(options["bridge"])
    played = play(target, drafter, params, 3, beside=BESIDE, **options)
    assert sum(played.distribution.values()) == pytest.approx(1, abs=1e-12)
    expected = exact_distribution(target, params, 3)
    assert largest_difference(played.distribution, expected) <= 1e-12
    alone = play(target, drafter, params, 3, **options)
    assert played.accepted == pytest.approx(alone.accepted, abs=1e-12)


@pytest.mark.parametrize("params", [PLAIN, FILTERED])
def test_nor_does_text_that_is_expected(params):
    """Right or wrong, as the text so far says."""
    target, _ = pair("text")

    def expected(committed):
        return [(len(committed) + i) % target.vocabulary.size for i in range(committed[-1])]

    played = play(target, None, params, 3, beside=BESIDE, bridge="text", expect=expected)
    expected_masses = exact_distribution(target, params, 3)
    assert largest_difference(played.distribution, expected_masses) <= 1e-12
    assert played.accepted > 0 or params is FILTERED  # of which the first token ends the text


@pytest.mark.parametrize("bridge", ["same", "tli", "slrs", "auto"])
def test_nor_do_lengths_that_go_by_them(bridge):
    """Without a seed a request drafts less where rows cost more beside others."""
    target, drafter = pair(bridge)
    dear = [0, 1, 1, 1, *range(2, 20)]
    options = {"auto_length": True, "draft_length": 3, "draft_cost": 0.05, "row_costs": dear}
    played = play(target, drafter, PLAIN, 4, bridge=bridge, beside=BESIDE, **options)
    expected = exact_distribution(target, PLAIN, 4)
    assert largest_difference(played.distribution, expected) <= 1e-12
    alone = play(target, drafter, PLAIN, 4, bridge=bridge, **options)
    assert played.accepted < alone.accepted - 0.05


@pytest.mark.parametrize("options", SHAPES[3:8], ids=str)
def test_nor_do_threads(three_threads, options):
    target, drafter = pair(options["bridge"])
    played = play(Wide(target), drafter, FILTERED, 2, beside=BESIDE, **options)
    expected = exact_distribution(target, FILTERED, 2)
    assert largest_difference(played.distribution, expected) <= 1e-12
