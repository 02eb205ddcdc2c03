"""Exact distributions of sessions whose target's logits depend on the text: those of plain
decoding.
"""

import functools

import pytest
import torch

from anydraft import Penalties
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
    bad_words_ids=[[1, 1], [0, 1, 0]],
)
SHAPES = [
    {"bridge": "tli"},
    {"bridge": "slrs"},
    {"bridge": "slem"},
    {"bridge": "tli", "widths": [2, 2], "scheme": PROPOSAL_KINDS["spechub"]},
    {"bridge": "tli", "widths": [2, 1], "scheme": PROPOSAL_KINDS["without_replacement"]},
    {"bridge": "tli", "widths": [2, 1], "verifier": "multipath"},
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
