"""rotalabs-accel: `rejection_sample`, token by token until one is rejected, as it documents."""

from __future__ import annotations

import torch
from rotalabs_accel.speculative.sampling import rejection_sample

from bench.audit.rounds import Rule, chains

PACKAGE = "rotalabs-accel"


def _step(tokens, draft_rows, target_rows):
    draft, target = draft_rows.softmax(-1), target_rows.softmax(-1)
    for i, token in enumerate(tokens):
        accepted, drawn = rejection_sample(
            target[i, token], draft[i, token], torch.tensor(token), target_rows[i]
        )
        if not accepted:
            return i, int(drawn)
    return len(tokens), int(torch.multinomial(target[-1], 1))


def rules() -> list[Rule]:
    return [Rule("speculative.sampling.rejection_sample", chains(_step))]
