"""What the kernels are measured against: the usual ways in torch, numpy and transformers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from anydraft import SamplingParams

Sampler = Callable[[Any], Any]  # a row of logits [1, vocab] -> a token, or a filtered row

NAMES = ("torch", "numpy", "transformers")


def samplers(params: SamplingParams, chosen: tuple[str, ...]) -> dict[str, Sampler]:
    """The peers that can do what `params` ask for; some filter only and draw nothing."""
    found: dict[str, Sampler] = {}
    if "torch" in chosen:
        found.update(_torch(params))
    if "numpy" in chosen and not params.top_k and params.top_p == 1 and not params.greedy:
        found["numpy: softmax, cumsum, searchsorted"] = _numpy(params)
    if "transformers" in chosen and (params.top_k or params.top_p < 1):
        found.update(_transformers(params))
    return found


def _torch(params: SamplingParams) -> dict[str, Sampler]:
    import torch

    def plain(row: Any) -> Any:
        return torch.multinomial((row.float() / params.temperature).softmax(-1), 1)

    def topk_first(row: Any) -> Any:
        values, ids = torch.topk(row.float(), params.top_k)
        masses = (values / params.temperature).softmax(-1)
        masses = masses.masked_fill(masses.cumsum(-1) - masses >= params.top_p, 0)
        return ids.gather(-1, torch.multinomial(masses, 1))

    if params.greedy:
        return {"torch: argmax": lambda row: row.argmax(-1)}
    if params.top_k:
        return {"torch: topk first, then the k filtered": topk_first}
    if params.top_p == 1:
        return {
            "torch: softmax, multinomial": plain,
            "torch: logsumexp alone": lambda row: (row.float() / params.temperature).logsumexp(-1),
        }
    return {}


def _numpy(params: SamplingParams) -> Sampler:
    import numpy as np

    random = np.random.default_rng(1)

    def draw(row: Any) -> Any:
        x = row.float().numpy()[0] / np.float32(params.temperature)
        ends = np.exp(x - x.max()).cumsum(dtype=np.float64)
        return np.searchsorted(ends, random.random() * ends[-1], side="right")

    return draw


def _transformers(params: SamplingParams) -> dict[str, Sampler]:
    import torch
    from transformers import TopKLogitsWarper, TopPLogitsWarper

    warpers = [TopKLogitsWarper(params.top_k)] if params.top_k else []
    warpers += [TopPLogitsWarper(params.top_p)] if params.top_p < 1 else []
    ids: Any = None

    def filtered(row: Any) -> Any:
        row = row.float() / params.temperature
        for warper in warpers:
            row = warper(ids, row)
        return row

    name = " + ".join(type(warper).__name__ for warper in warpers)
    return {
        f"transformers: {name}, nothing drawn": filtered,
        f"transformers: {name}, softmax, multinomial": lambda row: torch.multinomial(
            filtered(row).softmax(-1), 1
        ),
    }


def speculative_sampling(target: Any, draft: Any, tokens: list[int], temperature: float) -> Any:
    """transformers' verification of one chain: (its tokens, how many drafts it kept)."""
    import torch
    from transformers.generation import utils

    length = len(tokens)
    return utils._speculative_sampling(
        torch.tensor([tokens]),
        draft[None] / temperature,
        length,
        target[None] / temperature,
    )
