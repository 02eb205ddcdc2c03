"""transformers: `_speculative_sampling`, the verification of assisted generation."""

from __future__ import annotations

import torch
from transformers.generation.utils import _speculative_sampling

from bench.audit.rounds import Rule, chains

PACKAGE = "transformers"


def _step(weight):
    def step(tokens, draft_rows, target_rows):
        ids = torch.tensor([[0, *tokens]])
        valid, matches = _speculative_sampling(
            ids, draft_rows[None], len(tokens), target_rows[None], weight
        )
        return int(matches), int(valid[0, -1])

    return step


def rules() -> list[Rule]:
    return [
        Rule("_speculative_sampling", chains(_step(None))),
        Rule("_speculative_sampling, ensemble weight 0.9", chains(_step(0.9)), claim="lossy"),
    ]
