"""Linear layers with coarse weights, for drafters: a step of a small model is the reading of them.

A drafter decides how many tokens are accepted, never which text comes out: its weights may be
rounded as far as acceptance allows. Not for targets: the rounded model is another model.
"""

from __future__ import annotations

import torch
from torch import nn

GROUP = 32  # weights that share a scale and an offset
_OUT_BLOCK = 16  # outputs that torch's kernel computes together


class CoarseLinear(nn.Module):
    """A frozen nn.Linear with rounded weights; inputs are bfloat16, sums float32.

    The packed weight is neither parameter nor buffer: it cannot move to a device, nor be saved.
    """

    least_rows = 1

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None) -> None:
        """weight [out, in] and bias [out], float32 on the CPU."""
        super().__init__()
        self.out_features, self.in_features = weight.shape
        self.bias = None if bias is None else nn.Parameter(bias.detach(), requires_grad=False)

    @property
    def weight(self) -> torch.Tensor:
        """The rounded weight [out, in], as float32: to look at, not to use."""
        return self._unbiased(torch.eye(self.in_features, dtype=torch.bfloat16)).float().t()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x [..., in] -> [..., out]."""
        out = self.product(x.reshape(-1, self.in_features))
        return out.view(*x.shape[:-1], self.out_features)

    def product(self, x: torch.Tensor) -> torch.Tensor:
        """x [rows, in] -> [rows, out]."""
        out = self._unbiased(x.bfloat16()).float()
        return out if self.bias is None else out.add_(self.bias)

    def _unbiased(self, x: torch.Tensor) -> torch.Tensor:
        raise NotImplementedError


class FourBitLinear(CoarseLinear):
    """16 levels a group of weights, from its least to its largest."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None) -> None:
        super().__init__(weight, bias)
        groups = weight.detach().reshape(self.out_features, -1, GROUP)
        low, high = groups.aminmax(dim=2, keepdim=True)
        scale = ((high - low) / 15).clamp(min=1e-12).bfloat16().float()
        levels = ((groups - low) / scale).round_().clamp_(0, 15).int().view_as(weight)
        self._levels = torch.ops.aten._convert_weight_to_int4pack_for_cpu(levels, 1)
        middle = low + 8 * scale  # what the kernel adds to scale * (level - 8)
        pairs = torch.cat((scale, middle), 2).transpose(0, 1)
        self._scales = pairs.contiguous().bfloat16()  # [groups, out, 2]

    def _unbiased(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = torch.ops.aten._weight_int4pack_mm_for_cpu(
            x, self._levels, GROUP, self._scales
        )
        return out


class EightBitLinear(CoarseLinear):
    """255 levels a row of weights, around zero: for the head, which four bits would spoil."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None) -> None:
        super().__init__(weight, bias)
        scale = weight.detach().abs().amax(1, keepdim=True).clamp(min=1e-12) / 127
        self._levels = (weight.detach() / scale).round_().to(torch.int8)
        self._scales = scale[:, 0].bfloat16()

    def _unbiased(self, x: torch.Tensor) -> torch.Tensor:
        return torch._weight_int8pack_mm(x, self._levels, self._scales)


def fits(weight: torch.Tensor) -> bool:
    """torch's kernels take a weight [out, in] of this shape.

    Given another, the one of 8 bits reads beyond its input (torch 2.13).
    """
    return weight.shape[1] % GROUP == 0 and weight.shape[0] % _OUT_BLOCK == 0
