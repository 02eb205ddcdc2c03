"""A drafter of the target's own vocabulary where no smaller model is to be had: the target itself
with coarse weights (self-speculation).

It costs here what the target costs: it serves to measure acceptance, not time.
"""

from __future__ import annotations

from typing import Any

import torch

GROUP = 32  # weights that share a scale and an offset


def coarsen(model: Any, bits: int) -> None:
    """Rounds every linear layer's weights to 2^bits levels a group, in place; the head stays."""
    for name, layer in model.named_modules():
        if isinstance(layer, torch.nn.Linear) and name != "lm_head":
            layer.weight.data = _rounded(layer.weight.data, bits)


def _rounded(weight: torch.Tensor, bits: int) -> torch.Tensor:
    groups = weight.reshape(-1, GROUP)
    low, high = groups.aminmax(dim=1, keepdim=True)
    step = (high - low).clamp(min=1e-12) / (2**bits - 1)
    return (((groups - low) / step).round() * step + low).reshape(weight.shape)
