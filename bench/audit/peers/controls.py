"""What the audit must tell apart: rules that people really write, and this project's own."""

from __future__ import annotations

from functools import partial

import torch

from anydraft import verify
from bench.audit.rounds import Rule, chains

PACKAGE = "anydraft"


def _play(tokens, draft_rows, target_rows, *, accept=None, residual=None, reuse=False):
    """Leviathan et al. 2023, with a part of it changed."""
    target, draft = target_rows.double().softmax(-1), draft_rows.double().softmax(-1)
    for i, token in enumerate(tokens):
        uniform = torch.rand((), dtype=torch.float64)
        ratio = target[i, token] / draft[i, token]
        if uniform < (ratio if accept is None else accept(ratio)):
            continue
        rest = (target[i] - draft[i]).clamp(min=0)
        if residual is not None:
            rest = residual(target[i], draft[i], token)
        if reuse:  # one uniform for accepting and for drawing
            place = torch.searchsorted((rest / rest.sum()).cumsum(0), uniform)
            return i, int(place.clamp(max=len(rest) - 1))
        return i, int(torch.multinomial(rest, 1))
    return len(tokens), int(torch.multinomial(target[len(tokens)], 1))


def _one_hot_residual(target, draft, token):
    rest = target.clone()
    rest[token] = (rest[token] - draft[token]).clamp(min=0)
    return rest


WRONG = {
    "wrong on purpose: a rejected token is drawn from the target": {
        "residual": lambda target, draft, token: target
    },
    "wrong on purpose: only the rejected token's own mass is taken off": {
        "residual": _one_hot_residual
    },
    "wrong on purpose: one uniform accepts and draws": {"reuse": True},
    "wrong on purpose: ratios above 0.5 are accepted at once": {
        "accept": lambda ratio: ratio if ratio < 0.5 else 1.0
    },
}


def rules() -> list[Rule]:
    found = [Rule("the rule itself, in float64", chains(_play))]
    found += [
        Rule(name, chains(partial(_play, **how)), claim="wrong") for name, how in WRONG.items()
    ]
    for name in ("top_down", "traversal", "block"):
        width = 1 if name == "block" else 2
        found.append(Rule(f"verifier {name}", partial(verify, verifier=name), width=width))
    return found
