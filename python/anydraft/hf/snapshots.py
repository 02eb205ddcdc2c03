"""Hybrid and recurrent models: the states of their layers can be copied, but not cut back.

A cache keeps snapshots of all states at a few positions. A pass runs on a copy of the last snapshot
in the text that is kept, and feeds again what lies between it and the new tokens. When a whole
draft is accepted, what the pass left behind is the next snapshot, for free; otherwise the snapshot
lags behind. When it would lag too far, one pass more takes it up to the settled text.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from anydraft.errors import InputError
from anydraft.hf.kv_cache import RequestCache, States
from anydraft.hf.slots import Part
from anydraft.hf.stock import StockDecoder

_MOST_LAG = 16  # tokens fed again before a pass of their own is cheaper, where costs are not known
_LAGS = (4, 8, 16, 24, 32, 48, 64)
_ROWS, _KEPT = 5, 2  # of an ordinary round: four drafts, two tokens kept
_MOST_STEPS = 10  # snapshots: a drafter's steps, one token each, are cut back one by one


def most_lag(costs: Sequence[float] | None) -> int:
    """The lag after which a pass of its own takes the snapshot up, the cheapest by the costs of a
    call on 0, 1, 2, … rows: the rows fed again in each round until then, against that pass.

    >>> most_lag([0.0, 1.0, 1.0, 1.0]), most_lag([0.0, 1.0, 2.0, 3.0])
    (64, 4)
    """
    if costs is None:
        return _MOST_LAG
    slope = max(0.0, (costs[-1] - costs[1]) / max(1, len(costs) - 2))

    def cost(rows: int) -> float:
        known = rows < len(costs)
        return costs[rows] if known else costs[-1] + slope * (rows - len(costs) + 1)

    def a_round(lag: int) -> float:
        lags = range(0, lag, _KEPT)
        again = sum(cost(_ROWS + behind) - cost(_ROWS) for behind in lags) / len(lags)
        return again + cost(lag) * _KEPT / lag

    return min(_LAGS, key=a_round)


class SnapshotCache(RequestCache):
    """The tokens taken in, the snapshots, and attention layers that can be cut.

    Invariant: `snapshots` are ascending, the first one at or before every text that may be kept.
    """

    def __init__(self, config: Any, needed: int) -> None:
        super().__init__(config)
        self.needed = needed
        self.tokens: list[int] = []
        self.snapshots: list[tuple[int, States]] = [(0, self.states())]

    def keep(self, first: int, moved: Sequence[int] = ()) -> None:
        """Keeps the first tokens."""
        if moved:
            raise InputError(_CHAINS)
        if first < len(self.tokens):
            del self.tokens[first:]
            self._empty_if_needed(first)
            self.settle()

    def settle(self) -> None:
        """What is held now will not be cut: one snapshot is enough, or two where the last token is
        fed again."""
        del self.snapshots[: -self.needed]

    def resume(self, most: int) -> int:
        """Goes back to a copy of the last snapshot of at most so many tokens; returns its own."""
        reach = [kept for kept in self.snapshots if kept[0] <= most]
        position, states = reach[-1] if reach else (0, self._empty_states())
        self.restore(states)
        super().keep(position)
        return position

    def take(self, tokens: Sequence[int]) -> None:
        """Tokens have been taken in: a snapshot of where that led."""
        self.tokens.extend(tokens)
        self.snapshots.append((len(self.tokens), self.states()))
        if len(self.snapshots) > _MOST_STEPS:
            del self.snapshots[1]

    def _empty_if_needed(self, first: int) -> None:
        self.snapshots = [kept for kept in self.snapshots if kept[0] <= first]
        if not self.snapshots:  # cut back further than rounds do: all is fed again
            self.snapshots = [(0, self._empty_states())]

    def _empty_states(self) -> States:
        """The states before any token."""
        states = self.states()
        for layer in states:
            for part, values in layer.items():
                empty = None if part in ("conv_states", "recurrent_states") else False
                layer[part] = dict.fromkeys(values, empty)
        return states


class RecurrentDecoder(StockDecoder):
    """Runs a transformers causal model with recurrent layers or convolutions; chains alone.

    Attributes:
        passes: forward passes so far.
        extra_passes: of these, such as took a snapshot up to the settled text and nothing else.
        alone: whether single tokens are fed as such. Some models have another kernel for them that
            gives other numbers; then the token before is fed again with each, so that all rows are
            those of the kernel for several.
        most_lag: tokens fed again before a pass of its own takes the snapshot up.
    """

    def __init__(self, model: Any, costs: Sequence[float] | None = None) -> None:
        super().__init__(model)
        self.most_lag = most_lag(costs)
        self.passes = self.extra_passes = 0
        self.alone = True
        # transformers' scans on a CPU pad every pass to a whole chunk (Mamba-2: 256 tokens).
        on_cpu = self._model.device.type == "cpu"
        layers = [m for m in model.modules() if isinstance(getattr(m, "chunk_size", None), int)]
        self._chunks = {layer: layer.chunk_size for layer in layers} if on_cpu else {}

    def new_cache(self) -> SnapshotCache:
        """An empty cache for one request."""
        return SnapshotCache(self._config, 1 if self.alone else 2)

    def join_requests(self, tokens: int) -> bool:
        """Padding would decay a state: each request has a pass of its own."""
        self.alone_because = "padding would decay its recurrent state"
        return False

    def _forward(self, part: Part) -> torch.Tensor:
        if not part.slots.follows(part.positions, part.parents):
            raise InputError(_CHAINS)
        cache, tokens = part.cache, list(part.tokens)
        if len(tokens) > 1:
            cache.settle()
        # The first of the rows wanted is that of a settled token, what follows it is a draft.
        settled = len(tokens) - part.rows
        lag = len(cache.tokens) + settled - cache.snapshots[-1][0]
        if part.rows > 1 and lag > self.most_lag:
            self.extra_passes += 1
            self._take(cache, tokens[:settled], 0)
            cache.settle()
            tokens = tokens[settled:]
        return self._take(cache, tokens, part.rows)

    def _take(self, cache: SnapshotCache, tokens: list[int], rows: int) -> torch.Tensor:
        start = cache.resume(len(cache.tokens) + len(tokens) - (1 if self.alone else 2))
        again = cache.tokens[start:]
        fed = [*again, *tokens]
        self.passes += 1
        with self._chunks_of(len(fed)):
            logits = self._rows(fed, range(start, start + len(fed)), rows, cache)
        cache.take(tokens)
        return logits

    @contextmanager
    def _chunks_of(self, tokens: int) -> Iterator[None]:
        """Scans of so many tokens at a time, where a layer's own chunk is longer."""
        for layer, chunk in self._chunks.items():
            layer.chunk_size = min(chunk, tokens)
        try:
            yield
        finally:
            for layer, chunk in self._chunks.items():
                layer.chunk_size = chunk


_CHAINS = (
    "[HfModel] expected a chain, got a tree: a recurrent state has one past; use drafts that are "
    "chains"
)
