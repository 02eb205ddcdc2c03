"""What a model's calls on few rows cost on this machine, measured and kept.

The length of drafts goes by the table, so a seed keeps its text for as long as the table stays. It
is measured again where the machine has turned out quicker: it was busy at the first time, and
drafts look cheaper beside slow calls of the target.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from anydraft import _core
from anydraft.cache_folder import cache_folder

if TYPE_CHECKING:
    from anydraft.native import NativeModel

MOST_ROWS = 16
_CONTEXT = 64  # tokens before the rows that are timed
_SECONDS = 2.0  # at least five turns, and about this long
_QUICKER = 0.85  # of a call on one row as kept; less is not the machine's usual wavering
_REQUEST = -2  # of no session
_log = logging.getLogger("anydraft")


def known_row_costs(model: NativeModel, path: Path) -> list[float]:
    """Milliseconds of a call on 0 to 16 rows: out of the cache folder, or measured and kept there.

    The entry is of the file (its size and time), how its weights are held, this package's version,
    the processor and the number of threads. Deleting it has them measured again, and so has a call
    that has become a seventh quicker than the entry says.
    """
    file = cache_folder() / "row_costs" / f"{_key(model, path)}.json"
    with contextlib.suppress(OSError, ValueError, LookupError, TypeError):
        costs = [float(cost) for cost in json.loads(file.read_text("utf-8"))["milliseconds"]]
        if len(costs) == MOST_ROWS + 1 and _one_row(model) > _QUICKER * costs[1]:
            return costs
    costs = measure_row_costs(model)
    told = ", ".join(f"{cost:.2f}" for cost in costs[1:])
    _log.warning(
        "row costs of %s on 1 to %d rows: %s ms, kept in %s", path.name, MOST_ROWS, told, file
    )
    with contextlib.suppress(OSError):  # a folder that cannot be written to costs a measurement
        file.parent.mkdir(parents=True, exist_ok=True)
        scratch = file.with_suffix(f".{os.getpid()}")
        scratch.write_text(
            json.dumps({"model": str(path), "cpu": _cpu(), "milliseconds": costs}, indent=1) + "\n"
        )
        scratch.replace(file)
    return costs


def measure_row_costs(model: NativeModel) -> list[float]:
    """Milliseconds of calls on 1 to 16 rows behind 64 tokens, as [0, 1 row, …]: the quickest on one
    row, and of each turn through all of them the ratio to that turn's, whose median counts. A call
    on one row waits for the memory, whose speed changes within seconds, one on many for the
    processor: the quickest of each would be of different states of the machine."""
    tokens = _feed_context(model)
    times: list[list[float]] = [[] for _ in range(MOST_ROWS + 1)]

    def turn() -> None:
        for rows in range(1, MOST_ROWS + 1):
            feed = _chain(tokens[:1] * rows, len(tokens))
            times[rows].append(_seconds(lambda feed=feed: model([feed])))  # type: ignore[misc]

    begin = time.perf_counter()
    turn()
    times = [[] for _ in times]  # the first turn pays for threads and buffers
    while len(times[1]) < 5 or time.perf_counter() - begin < _SECONDS:
        turn()
        if len(times[1]) == 40:
            break
    model.forget(_REQUEST)
    one = times[1]
    ratios = [median(t / o for t, o in zip(each, one, strict=True)) for each in times[1:]]
    return [0.0, *(round(min(one) * ratio * 1e3, 3) for ratio in ratios)]


def _one_row(model: NativeModel) -> float:
    """Milliseconds of a call on one row: the quickest of three, behind the table's context."""
    tokens = _feed_context(model)
    times = [_seconds(lambda: model([_chain(tokens[:1], len(tokens))])) for _ in range(3)]
    model.forget(_REQUEST)
    return min(times) * 1e3


def _feed_context(model: NativeModel) -> list[int]:
    context = min(_CONTEXT, model.context_length - MOST_ROWS - 1)
    tokens = [min(1 + i, model.vocab_size - 1) for i in range(max(context, 1))]
    model([_chain(tokens, 0, rows=1)])
    return tokens


def _chain(tokens: list[int], start: int, rows: int | None = None) -> Any:
    """A feed of tokens behind `start` others, whose logits are wanted for all or the last rows."""
    count = len(tokens)
    return SimpleNamespace(
        request=_REQUEST,
        keep=range(start),
        tokens=tokens,
        positions=range(start, start + count),
        parents=range(-1, count - 1),
        rows=count if rows is None else rows,
    )


def _seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def _key(model: NativeModel, path: Path) -> str:
    files = sorted(path.glob("*.safetensors")) if path.is_dir() else [path]
    stats = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    own = [_core.__version__, _cpu(), os.cpu_count(), _core.threads()]
    held = [str(path.resolve()), stats, model.description, *own]
    return hashlib.sha256(json.dumps(held).encode()).hexdigest()[:24]


def _cpu() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text("utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
