"""Perplexity of a GGUF file: ours beside llama.cpp's, on one text and one split into windows.

    python bench/micro/perplexity.py MODEL.gguf [--tokens 20480] [--out FILE.json]

The text is of the Python standard library: docstrings and sources, the same on one Python. Each
window of 512 tokens is a text of its own, its first half context, its second half scored, as
llama.cpp's own tool does it. llama.cpp needs `llama-cpp-python`; without it only ours is printed.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import inspect
import json
import math
import os
import platform
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

MODULES = "argparse statistics heapq difflib textwrap csv shlex calendar fractions zipfile".split()
WINDOW = 512


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("model", type=Path)
    parser.add_argument("--tokens", type=int, default=20480)
    parser.add_argument("--ids", type=Path, help="token ids as JSON: read, or made by ours")
    parser.add_argument("--only", choices=("ours", "llama.cpp"))
    parser.add_argument("--out", type=Path, help="a JSON file that this script wrote, or a new one")
    args = parser.parse_args()
    ids = token_ids(args)
    sides = {"ours": ours, "llama.cpp": llama_cpp}
    results = []
    for name, side in sides.items():
        if args.only in (None, name):
            try:
                logits, version = side(args.model)
            except ImportError as error:
                print(f"{name}: skipped, {error}")
                continue
            results.append(measure(name, version, logits, ids, args.model))
    if args.out:
        known = json.loads(args.out.read_text("utf-8"))["results"] if args.out.exists() else []
        told = {"text": " ".join(__doc__.split("\n\n")[2].split()), "results": known + results}
        args.out.write_text(json.dumps(told, indent=1) + "\n", "utf-8")
    return 0


def text() -> str:
    parts = []
    for name in MODULES:
        module = importlib.import_module(name)
        parts += [inspect.getdoc(module) or "", inspect.getsource(module)]
    return "\n".join(parts)


def token_ids(args: argparse.Namespace) -> list[int]:
    if args.ids and args.ids.exists():
        ids: list[int] = json.loads(args.ids.read_text("utf-8"))
        return ids
    from anydraft import Vocabulary

    ids = Vocabulary.from_file(args.model).encode_as_owner(text(), specials=False)[: args.tokens]
    if args.ids:
        args.ids.write_text(json.dumps(ids), "utf-8")
    return ids


def ours(path: Path) -> tuple[Callable[[list[int]], Any], str]:
    from anydraft import __version__, _core

    decoder = _core.Decoder(str(path), None, "float32")

    class Feed:
        request, keep, parents = 0, range(0), list(range(-1, WINDOW - 1))
        positions, rows = list(range(WINDOW)), WINDOW - WINDOW // 2
        tokens: list[int]

    def logits(window: list[int]) -> Any:
        feed = Feed()
        feed.tokens = window
        return decoder.forward([feed])

    return logits, __version__


def llama_cpp(path: Path) -> tuple[Callable[[list[int]], Any], str]:
    import llama_cpp

    model = llama_cpp.Llama(
        str(path),
        n_ctx=WINDOW,
        n_batch=WINDOW,
        logits_all=True,
        verbose=False,
        n_threads=os.cpu_count(),
    )

    def logits(window: list[int]) -> Any:
        model.reset()
        model.eval(window)
        return model.scores[WINDOW // 2 : WINDOW]

    return logits, llama_cpp.__version__


def windows(ids: list[int]) -> Iterator[list[int]]:
    for start in range(0, len(ids) - WINDOW + 1, WINDOW):
        yield ids[start : start + WINDOW]


def _cpu() -> str:
    lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def measure(
    name: str, version: str, logits: Callable[[list[int]], Any], ids: list[int], path: Path
) -> dict[str, Any]:
    import numpy as np

    total, count, started = 0.0, 0, time.perf_counter()
    for window in windows(ids):
        rows = np.asarray(logits(window), np.float64)[:-1]
        largest = rows.max(axis=1)
        norms = largest + np.log(np.exp(rows - largest[:, None]).sum(axis=1))
        wanted = window[WINDOW // 2 + 1 :]
        total += float((norms - rows[np.arange(len(wanted)), wanted]).sum())
        count += len(wanted)
    result = {
        "model": path.name,
        "side": name,
        "version": version,
        "perplexity": math.exp(total / count),
        "tokens_fed": len(ids) // WINDOW * WINDOW,
        "tokens_scored": count,
        "seconds": round(time.perf_counter() - started, 1),
        "python": platform.python_version(),
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "cpu": f"{_cpu()}, {os.cpu_count()} cores",
    }
    print(json.dumps(result), flush=True)
    return result


if __name__ == "__main__":
    sys.exit(main())
