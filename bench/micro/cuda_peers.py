"""Peers of the CUDA kernels: torch, and what lies in the ignored folder .peers/.

A peer there is a module `.peers/<name>.py` with `VERSION` and functions `chain(case)` and
`draw(case)`; each gives a call without arguments that does the same work on the case's tensors, the
softmaxes it needs included, or None where it cannot. A case of chains has target and draft
[requests * (drafts + 1), vocab], tokens, drafts and params; one of draws logits and params.
"""

import importlib.util
from pathlib import Path

import torch

FOLDER = Path(__file__).resolve().parents[2] / ".peers"
KNOWN = ("flashinfer", "vllm", "sglang")


class Torch:
    """Full rows of probabilities, all requests at once, no synchronisation."""

    VERSION = torch.__version__

    @staticmethod
    def probs(logits, params):
        rows = logits.float() / params.temperature
        if params.top_k:
            least = rows.topk(params.top_k, -1).values[:, -1:]
            rows = rows.masked_fill(rows < least, -torch.inf)
        if params.top_p < 1:
            ordered, index = rows.softmax(-1).sort(-1, descending=True)
            drop = ordered.cumsum(-1) - ordered > params.top_p
            rows = rows.masked_fill(torch.zeros_like(drop).scatter(-1, index, drop), -torch.inf)
        return rows.softmax(-1)

    @classmethod
    def draw(cls, case):
        return lambda: torch.multinomial(cls.probs(case.logits, case.params), 1)

    @classmethod
    def chain(cls, case):
        size, vocab = case.drafts + 1, case.target.shape[1]
        ids = case.tokens.view(-1, size)[:, 1:, None].long()

        def call():
            target = cls.probs(case.target, case.params).view(-1, size, vocab)
            draft = cls.probs(case.draft, case.params).view(-1, size, vocab)
            ratio = target[:, :-1].gather(-1, ids) / draft[:, :-1].gather(-1, ids)
            kept = (torch.rand_like(ratio) < ratio).squeeze(-1).int().cumprod(-1).sum(-1)
            index = kept[:, None, None].expand(-1, 1, vocab)
            last = target.gather(1, index).squeeze(1)
            left = (last - draft.gather(1, index).squeeze(1)).relu()
            law = torch.where((kept < case.drafts)[:, None], left, last)
            return torch.multinomial(law + 1e-30, 1)

        return call


def _load(name):
    file = FOLDER / f"{name}.py"
    if not file.exists():
        return None
    spec = importlib.util.spec_from_file_location(f"peer_{name}", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


_PEERS = {"torch": Torch} | {name: _load(name) for name in KNOWN}


def present():
    """Version of each peer; those without one are absent."""
    return {name: peer.VERSION if peer else "absent" for name, peer in _PEERS.items()}


def times(what, case, microseconds):
    """Microseconds of each peer that can do it."""
    found = {}
    for name, peer in _PEERS.items():
        call = getattr(peer, what)(case) if peer else None
        if call is not None:
            found[name] = microseconds([call])
    return found
