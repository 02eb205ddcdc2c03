"""What the slots of a cache hold: at which position each token stands, and behind which other.

Most of a cache is the text itself, a chain: slot i stands at position i behind slot i - 1. Behind
it may lie a tree of which a part is kept later. A token sees its ancestors and itself.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from anydraft.errors import InputError


class Slots:
    """The slots of one request's cache.

    Invariant: slots below `chain` are a chain from position 0; of the others `_parents` holds the
    parent's slot (smaller than their own, -1: none) and `_positions` the position.
    """

    def __init__(self) -> None:
        self.chain = 0
        self._parents: list[int] = []
        self._positions: list[int] = []

    def __len__(self) -> int:
        return self.chain + len(self._parents)

    def keep(self, slots: Sequence[int] | None) -> tuple[int, list[int]]:
        """Keeps these slots, increasing, each with its parent; None: all.

        Returns (first, moved): the slots below `first` stay, those in `moved` follow them.
        """
        if slots is None:
            slots = range(len(self))
        first, moved = _split(slots)
        end = moved[-1] + 1 if moved else first
        if end > len(self):
            raise InputError(f"[Slots.keep] expected at most {len(self)} slots, got {end}")
        place = {old: first + i for i, old in enumerate(moved)}
        kept = [*range(self.chain, first), *moved]
        parents = [p if (p := self._parent(old)) < first else place.get(p) for old in kept]
        positions = [self._position(old) for old in kept]
        if None in parents:
            orphan = kept[parents.index(None)]
            raise InputError(
                f"[Slots.keep] expected every slot with its parent, got {slots}: the parent of "
                f"slot {orphan} is slot {self._parent(orphan)}"
            )
        self.chain = min(self.chain, first)
        self._parents, self._positions = [], []
        self._append(positions, [p for p in parents if p is not None])
        return first, moved

    def add(self, positions: Sequence[int], parents: Sequence[int]) -> None:
        """Takes the tokens of a feed, parents as Feed has them."""
        held = len(self)
        self._append(positions, [self.slot(parent, held) for parent in parents])

    @staticmethod
    def slot(parent: int, held: int) -> int:
        """The slot of a feed's parent, where `held` slots lie before the feed; -1: none.

        parent >= 0: the feed's own token of that index; -1: the last slot held; -2 - s: slot s.
        """
        if parent >= 0:
            return held + parent
        return held - 1 if parent == -1 else -2 - parent

    def follows(self, positions: Sequence[int], parents: Sequence[int]) -> bool:
        """Whether the cache and these tokens behind it are one chain."""
        new, held = len(positions), len(self)
        return (
            held == self.chain
            and list(parents) == list(range(-1, new - 1))
            and list(positions) == list(range(held, held + new))
        )

    def visible(self, positions: Sequence[int], parents: Sequence[int]) -> torch.Tensor:
        """Which slots the tokens of a feed see -> bool [new, held + new], on the CPU."""
        held, new = len(self), len(parents)
        if self.follows(positions, parents):
            return torch.ones(new, held + new, dtype=torch.bool).tril_(held)
        seen = torch.zeros(new, held + new, dtype=torch.bool)
        for i, parent in enumerate(parents):
            if parent >= 0:
                seen[i] = seen[parent]
            else:
                self._mark(seen[i], self.slot(parent, held))
            seen[i, held + i] = True
        return seen

    def distances(self, positions: Sequence[int]) -> torch.Tensor:
        """How far before each token of a feed each slot stands -> int64 [new, held + new]."""
        new = torch.tensor(positions)
        before = torch.cat((torch.arange(self.chain), torch.tensor(self._positions).long(), new))
        return new[:, None] - before

    def _mark(self, row: torch.Tensor, slot: int) -> None:
        """Sets row [slots] to True at `slot` and its ancestors."""
        while slot >= self.chain:
            row[slot] = True
            slot = self._parent(slot)
        row[: slot + 1] = True

    def _append(self, positions: Sequence[int], parents: Sequence[int]) -> None:
        for position, parent in zip(positions, parents, strict=True):
            if not self._parents and position == self.chain == parent + 1:
                self.chain += 1
            else:
                self._positions.append(position)
                self._parents.append(parent)

    def _parent(self, slot: int) -> int:
        return slot - 1 if slot < self.chain else self._parents[slot - self.chain]

    def _position(self, slot: int) -> int:
        return slot if slot < self.chain else self._positions[slot - self.chain]


@dataclass(frozen=True)
class Part:
    """One request's share of a forward pass: tokens to write into its cache behind `slots`.

    tokens, positions, parents, rows: as in Feed. slots: what the cache holds before; a pass does
    not change it. cache: as the decoder's `new_cache` made it.
    """

    tokens: Sequence[int]
    positions: Sequence[int]
    parents: Sequence[int]
    rows: int
    slots: Slots
    cache: Any


def additive(visible: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """bool [new, slots] -> what to add to the scores [1, 1, new, slots]."""
    # The least number, not -inf: a row with nothing to see must not become NaN.
    hidden = torch.full((), torch.finfo(dtype).min, dtype=dtype, device=visible.device)
    return torch.where(visible, torch.zeros_like(hidden), hidden)[None, None]


def _split(slots: Sequence[int]) -> tuple[int, list[int]]:
    """(how many lead the way as 0, 1, 2 ..., the rest), checked to increase."""
    if isinstance(slots, range) and slots.start == 0 and slots.step == 1:
        return len(slots), []
    first = next((i for i, slot in enumerate(slots) if slot != i), len(slots))
    moved = list(slots[first:])
    ordered = [first - 1, *moved]
    if any(a >= b for a, b in itertools.pairwise(ordered)):
        raise InputError(f"[Slots.keep] expected increasing slots, got {slots}")
    return first, moved
