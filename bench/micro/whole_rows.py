"""Rounds on whole rows of 262,144 tokens: what the engine does beside the models' calls.

    python bench/micro/whole_rows.py [--json FILE]                  of the installed anydraft
    python bench/micro/whole_rows.py --beside PYTHON --json FILE    and of another environment's

Gemma-3's vocabulary and SmolLM2's, each as the target of the other; chains of four at temperature
1. Models hand out ready rows, so a round is drawing, bridging and verifying. The two environments
take turns, each in a process of its own.
"""

from __future__ import annotations

import argparse
import inspect
import itertools
import json
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import vocabularies

from anydraft import SamplingParams, SpeculativeSession, Vocabulary, threads

PAIRS = {"gemma3 <- smollm2": ("gemma3", "smollm2"), "smollm2 <- gemma3": ("smollm2", "gemma3")}
BRIDGES = ("tli", "slrs", "auto")
PROMPT, TOKENS, POOL, TURNS = " the quick brown fox", 64, 32, 5


class Pool:
    """A model of ready rows: which one goes by the token's position."""

    def __init__(self, vocabulary: Any, likely: list[int]) -> None:
        self.vocabulary, self.seconds = vocabulary, 0.0
        noise = torch.Generator().manual_seed(0)
        self.rows = torch.randn(POOL, vocabulary.size, generator=noise)
        self.rows[:, likely] += 12  # what is spelt alike in both, so that some drafts are kept
        for special in vocabulary.specials.values():
            self.rows[:, special] = -30

    def __call__(self, feeds: list[Any]) -> torch.Tensor:
        began = time.perf_counter()
        chosen = [p % POOL for f in feeds for p in list(f.positions)[len(f.positions) - f.rows :]]
        first = chosen[0]
        view = chosen == list(range(first, first + len(chosen)))
        rows = self.rows[first : first + len(chosen)] if view else self.rows[chosen]
        self.seconds += time.perf_counter() - began
        return rows


def words(target: Any, drafter: Any) -> tuple[list[int], list[int]]:
    """Ids of some words that are one token in both."""
    found = []
    for token in range(1000, 30_000):
        spelt = drafter.token_bytes(token) or b""
        if not (spelt.startswith(b" ") and spelt[1:].isalpha() and spelt.isascii()):
            continue
        other = target.encode(spelt.decode())
        if len(other) == 1 and drafter.encode(spelt.decode()) == [token]:
            found.append((other[0], token))
        if len(found) == 40:
            break
    return [a for a, _ in found], [b for _, b in found]


def measured() -> dict[str, dict[str, float]]:
    """Microseconds of a round, by pair and bridge."""
    torch.set_num_threads(1)
    result: dict[str, dict[str, float]] = {}
    name = inspect.signature(SpeculativeSession.generate).parameters
    most = "max_tokens" if "max_tokens" in name else "max_new_tokens"
    for pair, files in PAIRS.items():
        target, drafter = (Vocabulary.from_file(vocabularies.fetch(file)) for file in files)
        common = words(target, drafter)
        models = [Pool(v, ids) for v, ids in zip((target, drafter), common, strict=True)]
        result[pair] = {}
        for bridge in BRIDGES:
            session = SpeculativeSession(
                *models, bridge=bridge, draft_length=4, draft_confidence=0.0
            )
            times, calls, tokens = [], 0, 0
            for turn in range(TURNS + 1):
                for model in models:
                    model.seconds = 0.0
                began = time.perf_counter()
                sampling = SamplingParams(temperature=1.0, seed=turn)
                made = session.generate(PROMPT, sampling=sampling, **{most: TOKENS})
                spent = time.perf_counter() - began - sum(model.seconds for model in models)
                if turn:  # the first one makes the tables and buffers
                    times.append(1e6 * spent / made.stats.target_calls)
                    calls, tokens = calls + made.stats.target_calls, tokens + made.stats.tokens
            result[pair][bridge] = round(median(times), 1)
            result[pair][f"{bridge}: tokens a round"] = round(tokens / calls, 3)
    return result


def in_process(python: str) -> Any:
    ran = subprocess.run([python, __file__], check=True, capture_output=True, text=True)
    return json.loads(ran.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--beside", metavar="PYTHON", help="another environment's Python")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    told: dict[str, Any] = {"unit": "microseconds a round"}
    if not args.beside:
        told = measured()  # what `in_process` reads
    else:
        turns = [(in_process(sys.executable), in_process(args.beside)) for _ in range(7)]
        told["here"], told["beside"] = (list(side) for side in zip(*turns, strict=True))
        told["ratio"] = ratio = {pair: dict.fromkeys(BRIDGES, 0.0) for pair in PAIRS}
        for pair, bridge in itertools.product(PAIRS, BRIDGES):
            here, beside = (
                median(one[pair][bridge] for one in told[s]) for s in ("here", "beside")
            )
            ratio[pair][bridge] = round(beside / here, 2)
    print(json.dumps(told.get("ratio", told), indent=1))
    if args.json:
        from anydraft.bench.timing import machine  # an older anydraft may have none

        args.json.write_text(json.dumps({"machine": machine(threads()), **told}, indent=1) + "\n")


if __name__ == "__main__":
    main()
