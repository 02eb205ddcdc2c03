"""End to end: the distribution of the first tokens that a session emits is the target's."""

from collections import Counter

import numpy as np
import pytest
import torch
from scipy.stats import chisquare
from toys import DRAFTER, TARGET, TableModel, engine

from anydraft import SamplingParams, probs
from anydraft.drafts import PROPOSAL_KINDS

TOKENS, PROMPT = 3, [0, 1]


def emitted(bridge, params, draft_params, runs, **options):
    target, drafter = TableModel(TARGET, 1), TableModel(DRAFTER, 2)
    if bridge == "same":
        drafter = TableModel(TARGET, 2)
    counts = Counter()
    batch = 2_000
    for first in range(0, runs, batch):
        core = engine(
            TARGET.table, drafter.vocabulary.table, bridge=bridge, draft_length=3, **options
        )
        ids = [
            core.add(
                PROMPT,
                sampling=params,
                draft_sampling=draft_params,
                max_tokens=TOKENS,
                stop=TARGET.role("eos"),
                random_stream=stream,
            )
            for stream in range(first, first + batch)
        ]
        target.texts.clear()
        drafter.texts.clear()
        while (work := core.next()).model != "idle":
            core.feed(work, (target if work.model == "target" else drafter)(work.feeds))
        for i in ids:
            core.check(i)
            counts[tuple(token for token, *_ in core.emitted(i))] += 1
    return target, counts


def exact_distribution(target, params):
    """Mass of every text of 3 tokens, or shorter and ended by EOS."""
    distribution, (eos,) = {(): 1.0}, TARGET.role("eos")
    for _ in range(TOKENS):
        longer = {}
        for text, mass in distribution.items():
            if text and text[-1] == eos:
                longer[text] = mass
                continue
            row = probs(torch.from_numpy(target.row((*PROMPT, *text)).copy())[None], params)[0]
            for token, p in enumerate(row.tolist()):
                longer[(*text, token)] = mass * p
        distribution = longer
    return distribution


CHAINS = [
    ("same", {}),
    ("tli", {}),
    ("tli", {"draft_confidence": 0.3}),
    ("slem", {"draft_confidence": 0.3}),
    ("lookup", {}),
]
FEWER_RUNS = [
    ("slrs", {}),
    ("same", {"widths": [2, 2], "scheme": PROPOSAL_KINDS["spechub"], "verifier": "top_down"}),
    ("tli", {"widths": [2, 2], "scheme": PROPOSAL_KINDS["spechub"]}),
    ("tli", {"widths": [3], "max_nodes": 6, "depth": 3, "beam": 2, "scheme": 2}),
    ("tli", {"widths": [3, 1, 1], "verifier": "multipath"}),
    ("slrs", {"widths": [2, 2], "scheme": PROPOSAL_KINDS["spechub"]}),
    ("slem", {"widths": [2, 2], "scheme": PROPOSAL_KINDS["without_replacement"]}),
]


@pytest.mark.parametrize(
    ("bridge", "options", "runs"),
    [(*case, 200_000) for case in CHAINS] + [(*case, 60_000) for case in FEWER_RUNS],
)
def test_distribution_of_the_first_tokens(bridge, options, runs):
    params = SamplingParams(temperature=1.1, seed=20_24)
    draft_params = SamplingParams(temperature=0.8) if bridge == "slem" else None
    target, counts = emitted(bridge, params, draft_params, runs, **options)
    distribution = exact_distribution(target, params)
    assert set(counts) <= {text for text, mass in distribution.items() if mass > 0}
    frequent = [text for text, mass in distribution.items() if mass * runs >= 10]
    expected = np.array([distribution[text] for text in frequent])
    observed = np.array([counts[text] for text in frequent])
    observed = np.append(observed, runs - observed.sum())
    expected = np.append(expected, 1 - expected.sum()) * runs
    assert chisquare(observed, expected).pvalue > 1e-4
