"""sequential-speculative-decoding: the standard step, and the capped hierarchical one.

Its naive hierarchical step emits several tokens behind a rejection, which an audit of rounds that
end with one cannot look at.
"""

from __future__ import annotations

import torch
from seqspecdecod import capped_hsd, standard_sd

from bench.audit.rounds import Model, Rule, chains, drafted

PACKAGE = "sequential-speculative-decoding"


def _step(module, name):
    play = getattr(module, name)

    def step(tokens, draft_rows, target_rows):
        prompt = torch.zeros((1, 1), dtype=torch.int64)
        with drafted(module, "sample_from_probs", tokens):
            ids, *_ = play(Model(draft_rows), Model(target_rows), prompt, len(tokens), 1.0, 1.0)
        emitted = ids[0, 1:].tolist()
        return len(emitted) - 1, emitted[-1]

    return chains(step)


def rules() -> list[Rule]:
    return [
        Rule("standard_speculative_step", _step(standard_sd, "standard_speculative_step")),
        Rule("capped_hsd_step", _step(capped_hsd, "capped_hsd_step")),
    ]
