"""Medians of interleaved calls, inputs hot and streamed, the machine and what it can copy."""

from __future__ import annotations

import os
import platform
import subprocess
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from shutil import which
from statistics import median
from typing import Any

STREAMED_BYTES = 128 << 20  # more than any cache holds

Call = Callable[[int], Any]  # with the number of the repetition


def interleaved(calls: dict[str, Call], seconds: float) -> dict[str, float]:
    """Median seconds of each call; one turn takes every call, so a busy moment hits all.

    A call is made twice, the second one timed: what ran before it does not count. Turns go on for
    `seconds`, but at least 5 and at most 200 of them.
    """
    times: dict[str, list[float]] = {name: [] for name in calls}
    begin = time.perf_counter()
    for turn in range(200):
        if turn >= 5 and time.perf_counter() - begin >= seconds:
            break
        for i, (name, call) in enumerate(calls.items()):
            number = 2 * (turn * len(calls) + i)  # another row for every call of a streamed input
            call(number)
            start = time.perf_counter()
            call(number + 1)
            times[name].append(time.perf_counter() - start)
    return {name: median(values) for name, values in times.items()}


def rows_of(vocab: int, dtype: str, spread: float, streamed: bool) -> Any:
    """Normal logits [rows, vocab]: one row, or as many as `STREAMED_BYTES` hold."""
    import torch

    kind = getattr(torch, dtype)
    size = torch.empty(0, dtype=kind).element_size() * vocab
    generator = torch.Generator().manual_seed(vocab)
    if not streamed:
        return (spread * torch.randn(1, vocab, generator=generator)).to(kind)
    count = -(-STREAMED_BYTES // size)
    rows = torch.empty(count, vocab, dtype=kind)
    for row in rows:  # a float32 copy of them all would need more memory than the rows
        row.copy_(spread * torch.randn(vocab, generator=generator))
    return rows


def copy_bandwidth() -> float:
    """Bytes a second, read and written, of torch's copy between buffers that no cache holds."""
    import torch

    source = torch.ones(STREAMED_BYTES // 4)
    target = torch.empty_like(source)
    seconds = interleaved({"copy": lambda _: target.copy_(source)}, 0.5)["copy"]
    return 2 * STREAMED_BYTES / seconds


def machine(threads: int) -> dict[str, Any]:
    """Where this ran, and with what."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return {
        "cpu": names[0] if names else platform.processor(),
        "cores": os.cpu_count(),
        "threads": threads,
        "load_at_start": os.getloadavg()[0],
        "commit": _commit(),
        "python": platform.python_version(),
        "versions": {
            name: _version(name) for name in ("anydraft", "torch", "transformers", "numpy")
        },
    }


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _commit() -> str | None:
    """Of the clone that this file or its environment lies in; None where there is none. Changed are
    sources, not results that the last measurement has written."""
    here = str(Path(__file__).parent)
    if not which("git"):
        return None

    def git(*words: str) -> str:
        told = subprocess.run(["git", "-C", here, *words], capture_output=True, text=True)
        return "" if told.returncode else told.stdout.strip()

    root = git("rev-parse", "--show-toplevel")
    if not root or not (Path(root) / "python" / "anydraft").is_dir():
        return None  # another project's
    sources = ("--untracked-files=no", "--", ":/", ":(top,exclude)bench/results")
    changes = git("status", "--porcelain", *sources)
    return git("rev-parse", "HEAD") + (" with changes" if changes else "")
