"""The engine's own time: a round beside its models' calls, from Python and in C++.

    python bench/micro/engine_round.py --build build/cpp [--out FILE]

Two models that know the text, as narrow rows that cost nothing to read: Qwen3's vocabulary,
SmolLM2's for the drafter, string-level exact match in chains of four. What a round takes
beside the models' calls is scheduling, bridging, drawing and verifying. Then rounds with whole rows
of 262,144 tokens, and eight requests verified in one call (draft_rows.cpp). --build: a folder of
CMake, where the C++ programs are made.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import vocabularies

from anydraft import SamplingParams, SpeculativeSession, Vocabulary, set_threads
from anydraft.bench.timing import machine

COLUMNS, PROMPT, WORDS, DRAFT_LENGTH = 1024, 16, 400, 4
TURNS = 21


class Replay:
    """A model that knows the text: behind each token the next one, for certain."""

    def __init__(self, vocabulary: Vocabulary, ids: list[int]) -> None:
        self.vocabulary, self.seconds = vocabulary, 0.0
        self.logits = np.zeros((len(ids), COLUMNS), np.float32)
        self.logits[np.arange(len(ids) - 1), ids[1:]] = 30

    def __call__(self, feeds: list[Any]) -> np.ndarray:
        began = time.perf_counter()
        parts = [self.logits[f.positions[-f.rows] : f.positions[-1] + 1] for f in feeds]
        rows = parts[0] if len(parts) == 1 else np.concatenate(parts)
        self.seconds += time.perf_counter() - began
        return rows


def text_of(target: Vocabulary, drafter: Vocabulary) -> str:
    """Words that are one token each with a small id, in both vocabularies."""
    words = []
    for token in range(COLUMNS):
        spelt = target.token_bytes(token) or b""
        if not re.fullmatch(rb" [a-z]+", spelt):
            continue
        found = drafter.encode(spelt)
        if len(found) == 1 and found[0] < COLUMNS and target.encode(spelt) == [token]:
            words.append(spelt.decode())
    return "".join(random.Random(1).choices(words, k=WORDS))


def python_round(target: Replay, drafter: Replay, ids: list[int], requests: int) -> float:
    """Microseconds of a request's round."""
    session = SpeculativeSession(
        target,
        drafter,
        bridge="slem",
        draft_length=DRAFT_LENGTH,
        draft_confidence=0,
        sampling=SamplingParams(temperature=0, max_tokens=len(ids) - PROMPT - 16),
    )
    target.seconds = drafter.seconds = 0.0
    began = time.perf_counter()
    done = session.generate([ids[:PROMPT]] * requests)
    spent = time.perf_counter() - began - target.seconds - drafter.seconds
    for one in done:
        assert one.tokens == ids[PROMPT : PROMPT + len(one.tokens)]
        assert one.stats.accepted == one.stats.drafted
    return 1e6 * spent / sum(one.stats.target_calls for one in done)


def program(build: Path, name: str) -> Path:
    subprocess.run(["cmake", "--build", build, "--target", name], check=True, capture_output=True)
    return build / name


def said(command: list[str | Path]) -> list[str]:
    words = [str(word) for word in command]
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout.splitlines()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--build", type=Path, required=True, help="of CMake")
    parser.add_argument("--out", type=Path, help="JSON file")
    args = parser.parse_args()
    set_threads(1)
    target, drafter = (
        Vocabulary.from_file(vocabularies.fetch(name)) for name in ("qwen3", "smollm2")
    )
    text = text_of(target, drafter)
    ids, drafts = target.encode(text), drafter.encode(text)
    assert max(*ids, *drafts) < COLUMNS
    models = Replay(target, ids), Replay(drafter, drafts)
    result: dict[str, Any] = {"machine": machine(1), "vocabulary": target.size, "python_us": {}}
    for requests in (1, 8):
        turns = [python_round(*models, ids, requests) for _ in range(TURNS)]
        result["python_us"][f"{requests} requests"] = round(median(turns), 1)
    with tempfile.TemporaryDirectory() as folder:
        tables = [Path(folder) / f"{name}.table" for name in ("target", "drafter")]
        for vocabulary, table in zip((target, drafter), tables, strict=True):
            vocabulary.export(table)
        (Path(folder) / "text.txt").write_text(text)
        own = program(args.build, "bench_engine_round")
        result["cpp"] = said([own, *tables, Path(folder) / "text.txt", str(DRAFT_LENGTH)])
    result["rounds"] = said([program(args.build, "bench_draft_rows")])
    print(json.dumps(result, indent=1))
    if args.out:
        args.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
