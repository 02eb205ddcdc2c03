"""Exact distributions of whole sessions: every branch of drafting and verification, with its
weight.
"""

from collections import Counter
from dataclasses import dataclass

import pytest
from toys import TableModel, engine, vocabulary

from anydraft import SamplingParams, Vocabulary, _core, _testing
from anydraft.drafts import PROPOSAL_KINDS
from anydraft.penalties import process, torch_rows

PROMPT = (0, 1)
PLAIN = SamplingParams(temperature=1.1)
FILTERED = SamplingParams(temperature=0.7, top_k=4, top_p=0.9)
GREEDY = SamplingParams(temperature=0)


def words(*tokens, specials=None, eos=False):
    """A vocabulary of these byte strings; the longest match from the left is its encoding."""
    tokens = [token if isinstance(token, bytes) else token.encode() for token in tokens]

    def encode(text):
        text, ids = text.encode(), []
        while text:
            fits = [t for t in tokens if t and text.startswith(t)]
            if not fits:
                return ids  # drops what it cannot spell, as some tokenisers do
            ids.append(tokens.index(max(fits, key=len)))
            text = text[len(tokens[ids[-1]]) :]
        return ids

    named = dict(specials or {})
    if eos:
        named["</s>"] = len(tokens)
        tokens.append(b"")
    roles = {"eos": [named["</s>"]]} if eos else {}
    return Vocabulary.from_bytes(tokens, encoder=encode, specials=named, roles=roles)


PAIRS = {  # target, drafter
    "longer on either side": (
        words("a", "b", "aab", eos=True),
        words("a", "ba", "bab", "b", eos=True),
    ),
    "one encodes as a BPE": (vocabulary([("a", "b")]), vocabulary([("b", "a"), ("ba", "b")])),
    "duplicates": (words("a", "b"), words("a", "b", "a", "ab", "ab", "abb")),
    "not canonical": (words("a", "b", "ab", "ba"), words("a", "b", "bab")),
    "spell nothing": (
        words("a", "b"),
        words("a", "ba", "c", "ac", "", "b", specials={"<pad>": 4}),
    ),
    "half a character": (words("a", b"\xc3", b"\xa9", "é"), words("a", b"\xc3", b"\xa9", "aé")),
    "next to nothing shared": (words("ab", "a", "b"), words("aa", "bb", "a", "b")),
}


TREES = {  # of every kind that a session draws
    "spechub": {"widths": [2, 1], "scheme": PROPOSAL_KINDS["spechub"], "verifier": "top_down"},
    "without replacement": {"widths": [2, 1], "scheme": PROPOSAL_KINDS["without_replacement"]},
    "iid": {
        "widths": [2, 1],
        "scheme": PROPOSAL_KINDS["iid"],
        "draft_sampling": SamplingParams(top_k=2),
    },
    "paths": {"widths": [2, 1], "verifier": "multipath"},
    "dynamic": {
        "widths": [2],
        "max_nodes": 3,
        "depth": 2,
        "beam": 1,
        "scheme": PROPOSAL_KINDS["greedy_k"],
    },
}


@dataclass
class Played:
    """What a session emits, over all of its rounds.

    distribution: {first tokens: probability}; accepted: probability that the first one was drafted.
    """

    distribution: Counter
    accepted: float


def play(
    target,
    drafter,
    params,
    tokens,
    *,
    restate=None,
    prompt=PROMPT,
    processor=None,
    changes=None,
    beside=(),
    **options,
):
    """Every branch of the shipped session until it has emitted `tokens` tokens.

    beside: (prompt, params) of requests that share the engine and draw by their seeds.
    """
    stop = target.vocabulary.role("eos")
    draft_sampling = options.pop("draft_sampling", None)
    options = {"bridge": "slrs", "draft_length": tokens, **options}
    branches = _testing.Branches(restate, only=0)
    played = Played(Counter(), 0.0)
    source = getattr(drafter, "vocabulary", None)
    tables = (target.vocabulary.table, source and source.table)
    shared = {"map": _core.VocabularyMapTable(*reversed(tables))} if source else {}
    while True:
        branches.restart()
        core = engine(*tables, **options, **shared, random_source=branches)
        own = {"draft_sampling": draft_sampling, "max_tokens": tokens, "stop": stop}
        before = [
            core.add(list(text), sampling=other, max_tokens=6, random_stream=1 + i)
            for i, (text, other) in enumerate(beside)
        ]
        changed = {} if changes is None else {"changes": changes}
        job = core.add(list(prompt), sampling=params, **own, **changed)
        target.texts.clear()
        if source:
            drafter.texts.clear()
        while (work := core.next()).model != "idle":
            rows = (target if work.model == "target" else drafter)(work.feeds)
            if processor and work.model == "target":
                output = [token for token, *_ in core.emitted(job)]
                rows = torch_rows(rows)
                process(processor, list(prompt), output, work.feeds[0], rows)
            core.feed(work, rows)
        for one in [job, *before]:
            core.check(one)
        emitted = core.emitted(job)
        played.distribution[tuple(token for token, *_ in emitted)] += branches.weight
        played.accepted += branches.weight * (emitted[0][1] == "accepted")
        if not branches.advance():
            return played


def exact_distribution(target, params, tokens, *, prompt=PROMPT):
    """{first tokens: probability} of the target alone, each text ended by EOS or at `tokens`."""
    distribution, ends = {(): 1.0}, target.vocabulary.role("eos")
    for _ in range(tokens):
        longer = {}
        for text, mass in distribution.items():
            if text and text[-1] in ends:
                longer[text] = mass
                continue
            row = _core.testing.distribution_masses(
                target.row((*prompt, *text)).copy()[None], params
            )[0]
            for token, p in enumerate(row):
                if p > 0:
                    longer[(*text, token)] = mass * p
        distribution = longer
    return distribution


def largest_difference(left, right):
    return max(abs(left.get(text, 0) - right.get(text, 0)) for text in left.keys() | right.keys())


def check(target, drafter, params, tokens=3, **options):
    played = play(target, drafter, params, tokens, **options)
    assert sum(played.distribution.values()) == pytest.approx(1, abs=1e-12)
    assert (
        largest_difference(played.distribution, exact_distribution(target, params, tokens)) <= 1e-12
    )
    return played


def models(name, seed=1):
    target, drafter = PAIRS[name]
    return TableModel(target, seed), TableModel(drafter, seed + 100)
