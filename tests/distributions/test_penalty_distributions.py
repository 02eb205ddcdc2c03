"""Exact distributions of sessions whose target's logits depend on the text: those of plain
decoding.
"""

import functools

import numpy
import pytest
import torch
from penalties import Penalties
from toys import TableModel

from anydraft import _core
from anydraft.drafts import PROPOSAL_KINDS
from tests.distributions.sessions import (
    FILTERED,
    PLAIN,
    PROMPT,
    exact_distribution,
    largest_difference,
    models,
    play,
)

STRONG = Penalties(
    repetition_penalty=1.7,
    frequency_penalty=0.9,
    presence_penalty=-0.6,
    bad_words=[[1, 1], [0, 1, 0]],
)
SHAPES = [
    {"bridge": "tli"},
    {"bridge": "slrs"},
    {"bridge": "slem"},
    {"bridge": "tli", "widths": [2, 2], "scheme": PROPOSAL_KINDS["spechub"]},
    {"bridge": "tli", "widths": [2, 1], "scheme": PROPOSAL_KINDS["without_replacement"]},
    {"bridge": "tli", "widths": [2, 1], "verifier": "multipath"},
]

NATIVE = [
    *SHAPES,
    {"bridge": "none"},
    {"bridge": "lookup"},
    {"bridge": "same"},
    {"bridge": "auto"},
    {"bridge": "slrs", "stop_tokens": 2, "draft_budget": 3},
    {"bridge": "slem", "widths": [2, 1]},
    {"bridge": "same", "widths": [2, 2]},
]


class Penalised:
    """The target as plain decoding with the penalties sees it."""

    def __init__(self, target):
        self.vocabulary = target.vocabulary

        @functools.cache
        def row(text):
            plain = torch.from_numpy(target.row(text).copy())
            return STRONG(text[: len(PROMPT)], text[len(PROMPT) :], plain).numpy()

        self.row = row


@pytest.mark.parametrize("options", SHAPES, ids=str)
@pytest.mark.parametrize("params", [PLAIN, FILTERED])
@pytest.mark.parametrize("pair", ["longer on either side", "not canonical"])
def test_distribution_along_every_branch(pair, params, options):
    target, drafter = models(pair, seed=3)
    penalised = Penalised(target)

    def processor(prompt, output, row):
        text = (*prompt, *output)
        assert row.tolist() == target.row(text).tolist()  # each node's own
        return torch.from_numpy(penalised.row(text))

    played = play(target, drafter, params, 3, processor=processor, **options)
    assert sum(played.distribution.values()) == pytest.approx(1, abs=1e-12)
    expected = exact_distribution(penalised, params, 3)
    assert largest_difference(played.distribution, expected) <= 1e-12
    assert largest_difference(expected, exact_distribution(target, params, 3)) > 0.01


@pytest.mark.parametrize("options", NATIVE, ids=str)
@pytest.mark.parametrize("params", [PLAIN, FILTERED])
def test_the_engine_changes_rows_as_the_processor_does(params, options):
    target, drafter = models("longer on either side", seed=3)
    if options["bridge"] == "same":
        drafter = TableModel(target.vocabulary, 9)
    if options["bridge"] in ("none", "lookup"):
        drafter = None
    changes = STRONG.changes()
    played = play(target, drafter, params, 3, changes=changes, **options)
    assert sum(played.distribution.values()) == pytest.approx(1, abs=1e-12)
    expected = exact_distribution(Penalised(target), params, 3)
    # The engine rounds a penalty of both kinds once, torch twice.
    assert largest_difference(played.distribution, expected) <= 1e-6
    assert largest_difference(expected, exact_distribution(target, params, 3)) > 0.01


class Changed:
    """The target as a request's options make it, by their definition."""

    def __init__(self, target, bias, least, allowed):
        self.vocabulary = target.vocabulary
        ends = target.vocabulary.role("eos")

        @functools.cache
        def row(text):
            row = target.row(text).copy()
            for token, by in bias.items():
                row[token] += numpy.float32(by)
            if len(text) - len(PROMPT) < least:
                row[list(ends)] = -numpy.inf
            out = [token for token in range(len(row)) if allowed and token not in allowed]
            row[out] = -numpy.inf
            return row

        self.row = row


@pytest.mark.parametrize("options", NATIVE, ids=str)
@pytest.mark.parametrize("allowed", [None, (0, 2, 3)])
def test_biases_least_lengths_and_masks(allowed, options):
    target, drafter = models("longer on either side", seed=5)
    if options["bridge"] == "same":
        drafter = TableModel(target.vocabulary, 9)
    if options["bridge"] in ("none", "lookup"):
        drafter = None
    bias = {0: 1.5, 3: 2.0}
    changes = _core.LogitChanges(
        logit_bias=list(bias.items()), min_tokens=1, allowed=allowed and list(allowed)
    )
    played = play(target, drafter, PLAIN, 3, changes=changes, **options)
    expected = exact_distribution(Changed(target, bias, 1, allowed), PLAIN, 3)
    assert largest_difference(played.distribution, expected) <= 1e-12
    assert {len(text) for text in expected} == {2, 3}  # no end at once
    assert largest_difference(expected, exact_distribution(target, PLAIN, 3)) > 0.01
