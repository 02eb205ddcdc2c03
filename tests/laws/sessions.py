"""Exact laws of whole sessions: every branch of drafting and verification, with its weight."""

from collections import Counter

import torch

from anydraft import _core, probs

PROMPT = (0, 1)


def session_law(target, drafter, params, tokens, *, restate=None, prompt=PROMPT, **options):
    """{first tokens: probability} of what the shipped session emits, over all of its rounds."""
    stop = target.vocabulary.role("eos")
    draft_sampling = options.pop("draft_sampling", None)
    options = {"bridge": "slrs", "draft_length": tokens, **options}
    branches = _core.testing.Branches(restate)
    law = Counter()
    tables = (target.vocabulary.table, drafter.vocabulary.table)
    shared = {"map": _core.VocabularyMapTable(*reversed(tables))}
    while True:
        branches.restart()
        core = _core.Session(*tables, **options, **shared, chooser=branches)
        job = core.add(
            list(prompt),
            sampling=params,
            draft_sampling=draft_sampling,
            max_new_tokens=tokens,
            stop=stop,
        )
        target.texts.clear()
        drafter.texts.clear()
        while (work := core.next())[0] != "idle":
            core.feed((target if work[0] == "target" else drafter)(work[1]))
        law[tuple(token for token, _ in core.emitted(job))] += branches.weight
        if not branches.advance():
            return law


def exact_law(target, params, tokens, *, prompt=PROMPT):
    """{first tokens: probability} of the target alone, each text ended by EOS or at `tokens`."""
    law, ends = {(): 1.0}, target.vocabulary.role("eos")
    for _ in range(tokens):
        longer = {}
        for text, mass in law.items():
            if text and text[-1] in ends:
                longer[text] = mass
                continue
            row = _core.testing.law_masses(target.row((*prompt, *text)).copy()[None], params)[0]
            for token, p in enumerate(row):
                if p > 0:
                    longer[(*text, token)] = mass * p
        law = longer
    return law


def largest_difference(left, right):
    return max(abs(left.get(text, 0) - right.get(text, 0)) for text in left.keys() | right.keys())
