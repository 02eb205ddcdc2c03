"""The cache of the lean forward pass: keys and values of all layers in one buffer."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from anydraft.hf.kv_cache import capacity

_Views = tuple[torch.Tensor, ...]  # one for each layer


class FlatCache:
    """Keys and values of all layers in one buffer; who calls knows how many slots are in use."""

    def __init__(self, layers: int, heads: int, head_dim: int) -> None:
        """heads: those of keys and those of values together."""
        self._buffer = torch.empty(layers, 0, heads, head_dim)

    def keep(self, first: int, moved: Sequence[int] = ()) -> None:
        """Puts the slots in `moved` behind the first ones."""
        if moved:
            kept = self._buffer.index_select(1, torch.tensor(moved))
            self._buffer[:, first : first + len(moved)] = kept

    def extend(self, held: int, new: int) -> tuple[_Views, _Views, _Views]:
        """Views for each layer, on a cache of `held` slots and remaining for `new` more.

        Returns what to write to [new, heads, head_dim], keys first, and then all keys and all
        values [1, heads / 2, held + new, head_dim].
        """
        end = held + new
        if end > self._buffer.shape[1]:
            layers, _, heads, width = self._buffer.shape
            buffer = self._buffer.new_empty(layers, capacity(held, end), heads, width)
            buffer[:, :held] = self._buffer[:, :held]
            self._buffer = buffer
        keys, values = self._buffer[:, None, :end].transpose(2, 3).chunk(2, 2)
        return self._buffer[:, held:end].unbind(), keys.unbind(), values.unbind()
