"""The cache of one request, made to be cut back: speculation rejects tokens every round.

Attention layers keep full length, those of sliding-window models too. transformers' sliding layers
drop old entries, so they cannot be cut back exactly; with full layers its mask (made from the
cache's length) hides what lies outside the window, and a cut is exact. The states of recurrent
layers and convolutions cannot be cut: snapshots.py keeps copies of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import torch
from transformers.cache_utils import (
    Cache,
    DummyLayer,
    DynamicCache,
    DynamicIndexedLayer,
    DynamicLayer,
    DynamicSlidingWindowLayer,
    LinearAttentionAndFullAttentionLayer,
    LinearAttentionAndSlidingWindowAttentionLayer,
    LinearAttentionLayer,
)

from anydraft.errors import InputError

_BLOCK = 256  # slots; growing copies the layer, so it happens rarely

States: TypeAlias = list[dict[str, dict[int, Any]]]  # one for each layer that has any
_STATE_PARTS = (
    "conv_states",
    "recurrent_states",
    "is_conv_states_initialized",
    "is_recurrent_states_initialized",
    "has_previous_state",
)


class _GrowingLayer(DynamicLayer):  # type: ignore[misc, unused-ignore]
    """Keys and values, views of buffers [1, heads, capacity, head_dim]; `update` writes in place.

    Invariant: keys is _key_buffer[:, :, :n] and values is _value_buffer[:, :, :n], n slots kept.
    """

    _key_buffer: torch.Tensor
    _value_buffer: torch.Tensor

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Appends states [1, heads, new, head_dim]; returns all [.., kept + new, ..]."""
        start = self.keys.shape[-2] if self.is_initialized else 0
        end = start + key_states.shape[-2]
        if not self.is_initialized or end > self._key_buffer.shape[-2]:
            self._grow(key_states, value_states, start, end)
        self._key_buffer[:, :, start:end] = key_states
        self._value_buffer[:, :, start:end] = value_states
        self.keep(end)
        return self.keys, self.values

    def keep(self, first: int, moved: Sequence[int] = ()) -> None:
        """Keeps the first slots, and behind them those in `moved`."""
        end = first + len(moved)
        if moved:
            source = torch.tensor(moved, device=self._key_buffer.device)
            for buffer in (self._key_buffer, self._value_buffer):
                buffer[:, :, first:end] = buffer.index_select(2, source)
        self.keys = self._key_buffer[:, :, :end]
        self.values = self._value_buffer[:, :, :end]

    def _grow(self, keys: torch.Tensor, values: torch.Tensor, start: int, end: int) -> None:
        size = capacity(start, end)
        buffers = []
        for new, old in ((keys, self.keys), (values, self.values)):
            buffer = new.new_empty((*new.shape[:2], size, new.shape[-1]))
            if start:
                buffer[:, :, :start] = old
            buffers.append(buffer)
        self._key_buffer, self._value_buffer = buffers
        self.dtype, self.device = keys.dtype, keys.device
        self.is_initialized = True


class _GrowingMixedLayer(LinearAttentionLayer, _GrowingLayer):  # type: ignore[misc, unused-ignore]
    """States and keys and values in one layer (Falcon-H1)."""

    is_compileable = False

    def __init__(self, number_of_states: int = 1) -> None:
        _GrowingLayer.__init__(self)
        LinearAttentionLayer.__init__(self, number_of_states=number_of_states)


class _IndexedLayer(DynamicIndexedLayer):  # type: ignore[misc, unused-ignore]
    """Keys, values and the keys of the indexer; chains only."""

    def keep(self, first: int, moved: Sequence[int] = ()) -> None:
        """Keeps the first slots."""
        if moved:
            raise InputError(
                "[HfModel] expected a chain, got a tree: this model's attention keeps an index of "
                "its own, which is cut at its end only; use drafts that are chains"
            )
        held = self.get_seq_length()
        if first < held:
            self.crop(first - held)


class RequestCache(Cache):  # type: ignore[misc, unused-ignore]
    """The cache of one request; transformers' models take it as `past_key_values`."""

    def __init__(self, config: Any = None) -> None:
        """config: the decoder's; None: attention layers alone, as many as the model asks for.

        Raises:
            InputError: a kind of layer that is not known, by name.
        """
        layers = None if config is None else _layers(config)
        if layers is None:
            super().__init__(layer_class_to_replicate=_GrowingLayer)
        else:
            super().__init__(layers=layers)

    def keep(self, first: int, moved: Sequence[int] = ()) -> None:
        """Keeps the first slots of every attention layer, and behind them those in `moved`."""
        # A forward pass that failed half way leaves layers uneven; this cuts all to one length.
        for layer in self.layers:
            if getattr(layer, "is_initialized", False) and hasattr(layer, "keep"):
                layer.keep(first, moved)

    @property
    def is_recurrent(self) -> bool:
        """Whether layers have states, which cannot be cut back."""
        return any(True for _ in self._stateful())

    def states(self) -> States:
        """The states as they stand, not copied: a pass that follows changes them."""
        return [{p: dict(getattr(x, p)) for p in _STATE_PARTS} for x in self._stateful()]

    def restore(self, states: States) -> None:
        """Takes copies of states."""
        for layer, kept in zip(self._stateful(), states, strict=True):
            for part, values in kept.items():
                setattr(layer, part, {i: _copy(value) for i, value in values.items()})

    def _stateful(self) -> list[Any]:
        return [layer for layer in self.layers if isinstance(layer, LinearAttentionLayer)]


def _copy(value: Any) -> Any:
    return value.clone() if isinstance(value, torch.Tensor) else value


def _layers(config: Any) -> list[Any] | None:
    """The layers of the model's own cache, such as can be cut; None: attention alone."""
    try:
        own = DynamicCache(config=config).layers
    except KeyError as error:  # a kind of layer for which transformers has no cache
        raise InputError(_unknown(str(error))) from error
    except AttributeError:  # a configuration that does not say; no class of transformers' own
        return None
    kinds = {type(layer) for layer in own}
    if kinds <= {DynamicLayer, DynamicSlidingWindowLayer}:
        return None
    return [_cuttable(layer) for layer in own]


def _cuttable(layer: Any) -> Any:
    states = getattr(layer, "number_of_states", 1)
    kind = type(layer)
    if kind in (DynamicLayer, DynamicSlidingWindowLayer):
        return _GrowingLayer()
    mixed = (LinearAttentionAndFullAttentionLayer, LinearAttentionAndSlidingWindowAttentionLayer)
    if kind in mixed:
        return _GrowingMixedLayer(states)
    if kind in (LinearAttentionLayer, DummyLayer):
        return layer
    if kind is DynamicIndexedLayer:
        return _IndexedLayer()
    raise InputError(_unknown(kind.__name__))


def _unknown(kind: str) -> str:
    return (
        f"[HfModel] expected layers whose cache can be cut back or copied, got {kind}: what such a "
        "layer has taken in cannot be taken back when a draft is rejected"
    )


def capacity(held: int, end: int) -> int:
    """Slots to reserve where `held` are in use and `end` are wanted."""
    # Half as much again: the copies of a long generation stay linear in its length.
    return -(-max(end, held + held // 2) // _BLOCK) * _BLOCK
