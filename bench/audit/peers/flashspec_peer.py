"""flashspec: both forms of its rejection sampling, and the one for certain drafts."""

from __future__ import annotations

import torch
from flashspec.sampling.rejection import rejection_sample, rejection_step, rejection_step_onehot

from bench.audit.rounds import Rule, chains

PACKAGE = "flashspec"


def _sample(tokens, draft_rows, target_rows):
    drafts = torch.tensor([tokens])
    draft, target = draft_rows.log_softmax(-1)[None], target_rows.log_softmax(-1)[None]
    ids, first, _ = rejection_sample(drafts, draft, target[:, :-1], drafts, len(tokens))
    kept = int(first)
    if kept < len(tokens):
        return kept, int(ids[0, kept])
    return kept, int(torch.multinomial(target[0, -1].exp(), 1))  # its engine draws the bonus


def _step(tokens, draft_rows, target_rows):
    draft, target = draft_rows.log_softmax(-1)[None], target_rows.log_softmax(-1)[None]
    return tuple(rejection_step(torch.tensor([tokens]), draft, target)[0].tolist())


def _onehot(tokens, draft_rows, target_rows):
    target = target_rows.log_softmax(-1)[None]
    return tuple(rejection_step_onehot(torch.tensor([tokens]), target)[0].tolist())


def rules() -> list[Rule]:
    return [
        Rule("rejection_sample", chains(_sample)),
        Rule("rejection_step", chains(_step)),
        Rule("rejection_step_onehot", chains(_onehot), scheme="one_hot"),
    ]
