"""speculative-decoding: one round of its generator, on models that are rows."""

from __future__ import annotations

import importlib

import torch

from bench.audit.rounds import Rule, chains, drafted

PACKAGE = "speculative-decoding"
module = importlib.import_module("speculative_decoding.speculative_decoding")
_CACHE = (torch.zeros(1, 1, 1, 1), None)  # cut by the round, read by nobody


def _net(rows):
    return lambda ids, **_: (rows[None, : ids.shape[1]], _CACHE)


def _step(tokens, draft_rows, target_rows):
    prompt = torch.zeros((1, 1), dtype=torch.int64)
    with drafted(module, "gumbel_sample", tokens):
        # One round ends with at least one token: that is the length asked for.
        emitted = _round(prompt, tokens, draft_rows, target_rows)
    return len(emitted) - 1, emitted[-1]


def _round(prompt, tokens, draft_rows, target_rows):
    kept: list[int] = []
    own = torch.multinomial

    def seen(probabilities, *args, **options):
        kept[:] = [int(token) for token in own(probabilities, *args, **options)]
        return torch.tensor([kept])

    module.torch.multinomial = seen
    try:
        _, accepted = module.speculative_decoding(
            _net(target_rows), _net(draft_rows), prompt, 2, gamma=len(tokens), filter_thres=0.0
        )
    finally:
        module.torch.multinomial = own
    return [*tokens[: int(accepted)], *kept]


def rules() -> list[Rule]:
    return [Rule("speculative_decoding, filter_thres=0", chains(_step))]
