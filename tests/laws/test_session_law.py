"""End to end: the law of the first tokens that a session emits is the target's."""

from collections import Counter

import numpy as np
import pytest
import torch
from scipy.stats import chisquare
from toys import DRAFTER, TARGET, TableModel

from anydraft import SamplingParams, _core, probs

RUNS, TOKENS, PROMPT = 200_000, 3, [0, 1]


def emitted(bridge, params, draft_params, confidence):
    target, drafter = TableModel(TARGET, 1), TableModel(DRAFTER, 2)
    if bridge == "same":
        drafter = TableModel(TARGET, 2)
    counts = Counter()
    batch = 2_000
    for first in range(0, RUNS, batch):
        core = _core.Session(TARGET.table, drafter.vocabulary.table, bridge=bridge, draft_length=3)
        ids = [
            core.add(
                PROMPT,
                sampling=params,
                draft_sampling=draft_params,
                max_new_tokens=TOKENS,
                stop=TARGET.role("eos"),
                coin_stream=stream,
            )
            for stream in range(first, first + batch)
        ]
        target.texts.clear()
        drafter.texts.clear()
        while (work := core.next())[0] != "idle":
            core.feed((target if work[0] == "target" else drafter)(work[1]))
        counts.update(tuple(t for t, _ in core.emitted(i)) for i in ids)
    return target, counts


def exact_law(target, params):
    """Mass of every text of 3 tokens, or shorter and ended by EOS."""
    law, (eos,) = {(): 1.0}, TARGET.role("eos")
    for _ in range(TOKENS):
        longer = {}
        for text, mass in law.items():
            if text and text[-1] == eos:
                longer[text] = mass
                continue
            row = probs(torch.from_numpy(target.row((*PROMPT, *text)).copy())[None], params)[0]
            for token, p in enumerate(row.tolist()):
                longer[(*text, token)] = mass * p
        law = longer
    return law


@pytest.mark.parametrize(
    ("bridge", "confidence"),
    [("same", 0), ("tli", 0), ("tli", 0.3), ("slem", 0.3), ("lookup", 0)],
)
def test_law_of_the_first_tokens(bridge, confidence):
    params = SamplingParams(temperature=1.1, seed=20_24)
    draft_params = SamplingParams(temperature=0.8) if bridge == "slem" else None
    target, counts = emitted(bridge, params, draft_params, confidence)
    law = exact_law(target, params)
    assert set(counts) <= {text for text, mass in law.items() if mass > 0}
    frequent = [text for text, mass in law.items() if mass * RUNS >= 10]
    expected = np.array([law[text] for text in frequent])
    observed = np.array([counts[text] for text in frequent])
    observed = np.append(observed, RUNS - observed.sum())
    expected = np.append(expected, 1 - expected.sum()) * RUNS
    assert chisquare(observed, expected).pvalue > 1e-4
