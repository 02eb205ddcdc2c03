"""Steps of fixed shapes on caches that do not move: what CUDA graphs need.

The keys and values of all requests lie in one pool, a row for each. A step of few tokens, say a
drafter's single one or a target's verification, runs over all rows at once: the same tensors, by
shape, on every call, so that on a GPU it is captured as a graph once and replayed from then on.
Everything else (prompts, models that this does not suit) takes the ordinary pass over the same
memory.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from transformers.cache_utils import Cache

from anydraft.errors import InputError
from anydraft.hf.kv_cache import RequestCache, _GrowingLayer, _layers, capacity
from anydraft.hf.slots import Part
from anydraft.hf.stock import _WINDOWED, StockDecoder, _logits, relative_error
from anydraft.hf.together import masks_together

_LONGEST = 16  # tokens of a step; feeds of more take the ordinary pass
_SAME = {torch.float32: 1e-5}  # how far a graph's logits may lie from the eager pass's
_SAME_COARSE = 1e-2

Run = Callable[[], torch.Tensor]
Capture = Callable[[Run], Run]


class _PooledLayer(_GrowingLayer):
    """One request's layer: views of its row of the pool."""

    def __init__(self, pool: Pool, layer: int, row: int) -> None:
        super().__init__()
        self._pool, self._layer, self._row = pool, layer, row

    def _grow(self, keys: torch.Tensor, values: torch.Tensor, start: int, end: int) -> None:
        self.dtype, self.device = keys.dtype, keys.device
        self._pool.reserve(self._row + 1, end)
        self._pool.add_layer(self._layer, keys, values)
        self.bind()
        self.is_initialized = True

    def bind(self) -> None:
        """Takes the views of the pool as it is now."""
        keys, values = self._pool.layers[self._layer]
        self._key_buffer = keys[self._row : self._row + 1]
        self._value_buffer = values[self._row : self._row + 1]
        held = self.keys.shape[-2] if self.keys is not None and self.keys.ndim == 4 else 0
        self.keep(held)


class PooledCache(RequestCache):
    """One request's cache, in a row of the pool for as long as it lives."""

    def __init__(self, pool: Pool) -> None:
        super().__init__()
        self.row = pool.take(self)
        # Of the list, not of the cache: a circle would keep the row after the request.
        layers, row = self.layers, self.row
        self.layer_class_to_replicate = lambda: _PooledLayer(pool, len(layers), row)

    def advance(self, held: int) -> None:
        """A step has written this row's slots up to `held`."""
        for layer in self.layers:
            layer.keep(held)


class Pool:
    """Keys and values [rows, heads, slots, head_dim] of each layer.

    Attributes:
        layers: (keys, values) by layer.
        version: counts how often they have moved.
    """

    def __init__(self) -> None:
        self.layers: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
        self.rows = self.slots = self.version = 0
        self._caches: dict[int, weakref.ref[PooledCache]] = {}

    def take(self, cache: PooledCache) -> int:
        row = next(i for i in range(len(self._caches) + 1) if i not in self._caches)
        self._caches[row] = weakref.ref(cache)
        weakref.finalize(cache, self._caches.pop, row)
        return row

    def rows_used(self) -> int:
        """Rows up to the last one that a request has."""
        return max(self._caches, default=-1) + 1

    def reserve(self, rows: int, slots: int) -> None:
        """Makes room for so many; the last slot stays free: padding is written there."""
        if rows <= self.rows and slots < self.slots:
            return
        old_rows, old_slots = self.rows, self.slots
        if rows > self.rows:
            self.rows = max(rows, 2 * self.rows)
        if slots >= self.slots:
            self.slots = capacity(self.slots, slots + 1)
        for layer, buffers in self.layers.items():
            moved = []
            for old in buffers:
                new = old.new_zeros(self.rows, old.shape[1], self.slots, old.shape[3])
                new[:old_rows, :, :old_slots] = old
                moved.append(new)
            self.layers[layer] = moved[0], moved[1]
        self.version += 1
        for known in self._caches.values():
            cache = known()
            for one in cache.layers if cache is not None else ():
                if one.is_initialized:
                    one.bind()

    def add_layer(self, layer: int, keys: torch.Tensor, values: torch.Tensor) -> None:
        """keys, values: states of its first tokens, which say its shape."""
        if layer in self.layers:
            return
        made = [
            states.new_zeros(self.rows, states.shape[1], self.slots, states.shape[3])
            for states in (keys, values)
        ]
        self.layers[layer] = made[0], made[1]


class _StepCache(Cache):  # type: ignore[misc, unused-ignore]
    """The first rows of the pool, for one step that writes to fixed places."""

    def __init__(self, pool: Pool, write: torch.Tensor) -> None:
        """write: the slot of each new token [rows, new]."""
        super().__init__(layers=[])
        self._pool, self._write = pool, write
        self._rows = torch.arange(write.shape[0], device=write.device)[:, None]

    def update(
        self,
        key_states: torch.Tensor,
        value_states: torch.Tensor,
        layer_idx: int,
        *_: Any,
        **__: Any,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """states [rows, heads, new, head_dim] -> all slots [rows, heads, slots, head_dim]."""
        rows = self._write.shape[0]
        out = []
        for buffer, states in zip(
            self._pool.layers[layer_idx], (key_states, value_states), strict=True
        ):
            buffer[self._rows, :, self._write] = states.transpose(1, 2)
            out.append(buffer[:rows])
        return out[0], out[1]

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Slots before the new ones: the mask and the positions say it."""
        return 0


class _Step:
    """A step of one shape: its inputs, and how it is run."""

    def __init__(self, ids: torch.Tensor, masks: dict[str, torch.Tensor]) -> None:
        self.numbers = ids  # tokens, positions, slots [3, rows, new]
        self.masks = masks
        self.run: Run | None = None
        self.left_off = ""  # why it is not a graph


class StaticDecoder(StockDecoder):
    """A transformers model by steps of fixed shapes, where it takes masks of four dimensions and
    has no layers but attention.

    Attributes:
        graphs: {(rows, tokens): why the step is no graph, "" where it is one}.
    """

    def __init__(self, model: Any, capture: Capture | None = None) -> None:
        """capture: makes a replayable function of a step; None: on a GPU a CUDA graph."""
        super().__init__(model)
        if _layers(self._config) is not None:
            raise InputError("layers that are not attention alone")
        self._pool = Pool()
        self._steps: dict[tuple[int, int], _Step] = {}
        self._version = 0
        on_gpu = model.device.type == "cuda"
        self._capture = capture or (captured_graph if on_gpu else None)

    @property
    def graphs(self) -> dict[tuple[int, int], str]:
        return {shape: step.left_off for shape, step in self._steps.items()}

    def new_cache(self) -> Any:
        """An empty cache for one request."""
        return PooledCache(self._pool)

    def __call__(self, parts: Sequence[Part]) -> torch.Tensor:
        """As StockDecoder's."""
        short = all(len(part.tokens) <= _LONGEST and len(part.slots) for part in parts)
        if self.together == 1 or not short or not any(part.rows for part in parts):
            return super().__call__(parts)
        return self._take_step(parts)

    def _take_step(self, parts: Sequence[Part]) -> torch.Tensor:
        rows = self._pool.rows_used()
        new = next(n for n in (1, 2, 4, 8, 16) if n >= max(len(part.tokens) for part in parts))
        self._pool.reserve(rows, max(len(part.slots) + new for part in parts))
        if self._version != self._pool.version:  # what was captured has moved
            self._steps.clear()
            self._version = self._pool.version
        numbers, at = self._numbers(parts, rows, new)
        masks = self._step_masks(parts, rows, new)
        step = self._steps.get((rows, new))
        if step is None:
            step = self._steps[rows, new] = _Step(numbers, masks)
        else:
            step.numbers.copy_(numbers)
            for kind, mask in masks.items():
                step.masks[kind].copy_(mask)
        logits = (step.run or self._first_run(step))()
        for part in parts:
            part.cache.advance(len(part.slots) + len(part.tokens))
        return logits[at[0], at[1]]  # a copy: the next step writes where these are

    def _numbers(
        self, parts: Sequence[Part], rows: int, new: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """(tokens, positions and slots [3, rows, new]; row and token of each logit wanted), by one
        upload."""
        numbers = torch.zeros(3, rows, new, dtype=torch.int64)
        numbers[2] = self._pool.slots - 1
        wanted: list[tuple[int, int]] = []
        for part in parts:
            row, count, held = part.cache.row, len(part.tokens), len(part.slots)
            numbers[0, row, :count] = torch.tensor(part.tokens)
            numbers[1, row, :count] = torch.tensor(part.positions)
            numbers[2, row, :count] = torch.arange(held, held + count)
            wanted += [(row, i) for i in range(count - part.rows, count)]
        at = torch.tensor(wanted).T.reshape(-1)
        flat = torch.cat((numbers.reshape(-1), at))
        if self._model.device.type == "cuda":
            flat = flat.pin_memory()
        flat = flat.to(self._model.device, non_blocking=True)
        return flat[: numbers.numel()].view(3, rows, new), flat[numbers.numel() :].view(2, -1)

    def _step_masks(self, parts: Sequence[Part], rows: int, new: int) -> dict[str, torch.Tensor]:
        """The masks [rows, 1, new, slots] of each type of layer; of chains made on the device."""
        kinds = self._kinds()
        chains = all(part.slots.follows(part.positions, part.parents) for part in parts)
        if not chains:
            own = {
                part.cache.row: self._masks(part.slots, part.positions, part.parents)
                for part in parts
            }
            first = next(iter(own.values()))
            return {
                kind: masks_together(
                    [
                        own[row][kind] if row in own else first[kind][:, :, :1, :1]
                        for row in range(rows)
                    ],
                    self._pool.slots,
                    new,
                )
                for kind in kinds
            }
        held = [0] * rows
        for part in parts:
            held[part.cache.row] = len(part.slots)
        device, dtype = self._model.device, self._model.dtype
        slot = torch.arange(self._pool.slots, device=device)
        place = torch.tensor(held, device=device)[:, None] + torch.arange(new, device=device)
        before = place[:, None, :, None] - slot  # how far before each token each slot stands
        hidden = torch.finfo(dtype).min
        masks = {}
        for kind in kinds:
            seen = before >= 0
            if _WINDOWED[kind]:
                seen &= before < self._config.sliding_window
            masks[kind] = torch.zeros(seen.shape, dtype=dtype, device=device).masked_fill_(
                ~seen, hidden
            )
        return masks

    def _first_run(self, step: _Step) -> Run:
        """How a step is run from now on: as a graph, where that gives what the eager pass does."""
        names = self._names
        cache = _StepCache(self._pool, step.numbers[2])

        def run() -> torch.Tensor:
            masks = step.masks
            given = {
                names[0]: step.numbers[0],
                names[1]: step.numbers[1],
                names[2]: masks if len(masks) > 1 else next(iter(masks.values())),
                self._cache_name: cache,
                "use_cache": True,
            }
            return _logits(self._model(**given))

        step.run = run
        if self._capture is None:
            step.left_off = "not on a GPU"
            return run
        expected = run().clone()
        try:
            replay = self._capture(run)
            error = relative_error(replay().float(), expected.float())
        except Exception as failure:
            step.left_off = f"it cannot be captured: {type(failure).__name__}: {failure}"
            return run
        most = _SAME.get(self._model.dtype, _SAME_COARSE)
        if error <= most:
            step.run = replay
        else:
            step.left_off = f"its logits differ by {error:.2g} of their size from the eager pass"
        return step.run


def captured_graph(run: Run) -> Run:
    """A CUDA graph of `run`, whose result the next replay overwrites."""
    stream: Any = cast("Any", torch.cuda).Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):  # what is allocated and chosen at first
        for _ in range(2):
            run()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        out = run()

    def replay() -> torch.Tensor:
        graph.replay()
        return out

    return replay
