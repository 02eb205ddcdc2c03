"""Timings on a machine that others use too: a run that was disturbed is repeated."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

_FOREIGN = 0.05  # cores' worth of other processes that a run may see
_ATTEMPTS = 20

T = TypeVar("T")


def undisturbed(run: Callable[[], T]) -> T:
    """run(), waiting for an idle machine and once more where other processes took part of it.

    After some attempts the next run counts, whatever happened; it is said so. Linux only: without
    /proc/stat the first run counts.
    """
    for _ in range(_ATTEMPTS):
        _wait_for_idle()
        before = _foreign_seconds()
        started = time.perf_counter()
        result = run()
        seconds = time.perf_counter() - started
        if _foreign_seconds() - before <= _FOREIGN * seconds + 0.1:
            return result
        print("disturbed: once more", file=sys.stderr, flush=True)
    print("DISTURBED", file=sys.stderr, flush=True)
    return run()


def _wait_for_idle(limit: float = 120.0) -> None:
    end = time.perf_counter() + limit
    while time.perf_counter() < end:
        before = _foreign_seconds()
        time.sleep(0.5)
        if _foreign_seconds() - before <= 0.05:
            return


def _foreign_seconds() -> float:
    """CPU seconds of all processes but this one since the machine started."""
    stat = Path("/proc/stat")
    if not stat.exists():
        return 0.0
    user, nice, system, _, _, irq, softirq, *_ = map(int, stat.read_text().split()[1:9])
    busy = (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")
    return busy - time.process_time()
