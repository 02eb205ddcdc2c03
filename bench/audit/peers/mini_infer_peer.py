"""mini-infer: `speculative_step`, on models that are rows, made to draft what the audit drew."""

from __future__ import annotations

from types import SimpleNamespace

import torch
from mini_infer.speculative import verifier

from bench.audit.rounds import Rule, chains, drafted

PACKAGE = "mini-infer"


class _Torch(SimpleNamespace):
    """torch, with a sampler of its own."""

    def __getattr__(self, name):
        return getattr(torch, name)


def _model(rows):
    return lambda ids: (rows[None, : ids.shape[1]], None)


def _step(tokens, draft_rows, target_rows):
    verifier.torch = _Torch(multinomial=torch.multinomial)
    with drafted(verifier.torch, "multinomial", tokens):
        emitted, kept = verifier.speculative_step(
            _model(target_rows),
            _model(draft_rows),
            torch.zeros((1, 1), dtype=torch.int64),
            k_draft=len(tokens),
            temperature=1.0,
        )
    return kept, emitted[-1]


def rules() -> list[Rule]:
    return [Rule("speculative_step", chains(_step))]
