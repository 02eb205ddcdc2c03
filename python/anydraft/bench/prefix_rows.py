"""Logits after many continuations of one text: a trie, fed to a model by tree attention.

What a verifier would see, had the drafter proposed this or that: every row depends on its prefix
alone, so rows are computed once and serve every tree, distribution and verifier that is compared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from transformers import DynamicCache

Prefix = tuple[int, ...]


class PrefixRows:
    """Rows by prefix, a tuple of the token ids after the context; () is the context itself.

    The cache holds the context's slots, then one slot a prefix. A prefix attends to the context and
    to its own ancestors.

    Attributes:
        rows: prefix -> what `keep` made of its logits [vocab].
    """

    def __init__(
        self,
        model: Any,
        context: Sequence[int],
        keep: Callable[[torch.Tensor], Any] = lambda logits: logits,
    ) -> None:
        """model: a transformers causal model; context: its token ids, at least one."""
        if not context:
            raise ValueError("[PrefixRows] expected a context of at least one token, got none")
        self._model, self._context, self._keep = model, len(context), keep
        self._window = getattr(model.config, "sliding_window", None)
        self._slots: dict[Prefix, int] = {}
        self._cache = DynamicCache()  # full length in every layer; the masks know the windows
        causal = torch.ones(len(context), len(context), dtype=torch.bool).tril()
        positions = torch.arange(len(context))
        logits = self._forward(torch.tensor(context), positions, positions, causal, wanted=1)
        self.rows: dict[Prefix, Any] = {(): keep(logits[0])}

    def extend(self, prefixes: Iterable[Prefix]) -> None:
        """Computes the rows of prefixes, and of their beginnings, in one forward pass."""
        missing = sorted(
            {p[:n] for p in prefixes for n in range(1, len(p) + 1)} - self._slots.keys(), key=len
        )
        if not missing:
            return
        first = self._context + len(self._slots)
        self._slots |= {prefix: first + i for i, prefix in enumerate(missing)}
        visible = torch.zeros(len(missing), first + len(missing), dtype=torch.bool)
        visible[:, : self._context] = True
        for i, prefix in enumerate(missing):
            visible[i, [self._slots[prefix[:n]] for n in range(1, len(prefix) + 1)]] = True
        depths = torch.tensor([len(prefix) for prefix in self._slots])
        slots = torch.cat([torch.arange(self._context), self._context - 1 + depths])
        logits = self._forward(
            torch.tensor([prefix[-1] for prefix in missing]),
            slots[first:],
            slots,
            visible,
            wanted=len(missing),
        )
        for prefix, row in zip(missing, logits, strict=True):
            self.rows[prefix] = self._keep(row)

    def _forward(
        self,
        tokens: torch.Tensor,
        positions: torch.Tensor,
        slots: torch.Tensor,
        visible: torch.Tensor,
        wanted: int,
    ) -> torch.Tensor:
        """tokens, positions: [new]; slots: positions [held + new]; visible: [new, held + new]."""
        with torch.inference_mode():
            out = self._model(
                input_ids=tokens[None],
                position_ids=positions[None],
                attention_mask=self._masks(positions, slots, visible),
                past_key_values=self._cache,
                use_cache=True,
                logits_to_keep=wanted,
            )
        return out.logits[0].float()  # type: ignore[no-any-return]

    def _masks(self, positions: torch.Tensor, slots: torch.Tensor, visible: torch.Tensor) -> Any:
        if not self._window:
            return self._additive(visible)
        near = positions[:, None] - slots[None] < self._window
        return {
            "full_attention": self._additive(visible),
            "sliding_attention": self._additive(visible & near),
        }

    def _additive(self, visible: torch.Tensor) -> torch.Tensor:
        """[1, 1, new, held + new]: 0 where visible, else the most negative number."""
        dtype = self._model.dtype
        mask = torch.zeros(visible.shape, dtype=dtype)
        return mask.masked_fill(~visible, torch.finfo(dtype).min)[None, None]
