"""economize: `RejectionVerifier`, chains and trees."""

from __future__ import annotations

import itertools
from types import SimpleNamespace

import torch
from economize.decoding.verifiers import RejectionVerifier

from bench.audit.rounds import Rule, chains, judged

PACKAGE = "economize"


class _Selector:
    """Draws from the softmax of a row."""

    greedy = False
    generator = None

    def __call__(self, logits, history):
        return int(torch.multinomial(logits.softmax(-1), 1))

    def distribution(self, logits, history):
        return logits.softmax(-1)

    def distributions(self, logits):
        return logits.softmax(-1)


_VERIFIER = RejectionVerifier.__new__(RejectionVerifier)  # takes nothing from a configuration


def _chain(tokens, draft_rows, target_rows):
    history = torch.zeros(1 + len(tokens), dtype=torch.int64)
    return _VERIFIER.verify(target_rows, tokens, draft_rows.softmax(-1), _Selector(), history, 1)


def _tree(trees, target_logits, *, proposals, draft_logits, **_):
    paths, following = [], []
    draft = draft_logits.softmax(-1)
    for begin, end in itertools.pairwise(trees.offsets):
        parents = [parent - 1 for parent in trees.parents[begin + 1 : end]]
        rows = [proposals[begin + parent + 1].row for parent in parents]
        given = SimpleNamespace(
            tokens=torch.tensor([trees.tokens[begin + 1 : end]]),
            parents=torch.tensor([parents]),
            lengths=[len(parents)],
            probs=draft[rows][None],
        )
        kept, token = _VERIFIER.verify_tree(target_logits[None, begin:end], given, _Selector())
        paths.append([node + 1 for node in kept[0]])
        following.append(token[0])
    return judged(paths, following)


def rules() -> list[Rule]:
    return [
        Rule("RejectionVerifier.verify", chains(_chain)),
        Rule("RejectionVerifier.verify_tree", _tree, width=2),
    ]
