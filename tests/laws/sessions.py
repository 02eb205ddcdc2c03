"""Exact laws of whole sessions: every branch of drafting and verification, with its weight."""

from collections import Counter
from dataclasses import dataclass

from anydraft import _core

PROMPT = (0, 1)


@dataclass
class Played:
    """What a session emits, over all of its rounds.

    law: {first tokens: probability}; accepted: probability that the first one was drafted.
    """

    law: Counter
    accepted: float


def play(target, drafter, params, tokens, *, restate=None, prompt=PROMPT, **options):
    """Every branch of the shipped session until it has emitted `tokens` tokens."""
    stop = target.vocabulary.role("eos")
    draft_sampling = options.pop("draft_sampling", None)
    options = {"bridge": "slrs", "draft_length": tokens, **options}
    branches = _core.testing.Branches(restate)
    played = Played(Counter(), 0.0)
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
        emitted = core.emitted(job)
        played.law[tuple(token for token, _ in emitted)] += branches.weight
        played.accepted += branches.weight * (emitted[0][1] == "accepted")
        if not branches.advance():
            return played


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
