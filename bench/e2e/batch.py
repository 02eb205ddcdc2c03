"""What decoding several requests together gains: SmolLM2, packed, by batch size.

    python bench/e2e/batch.py [--sizes 1,4] [--rounds 5] [--tokens 48] [--threads N]

Every size decodes the same prompts with the same calls of `generate`, in turns; size 1 is one
request after another. All texts must be equal. Seconds are the medians over the rounds, the
shares those of the rounds' ratios; CPU seconds say what a busy machine hides.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import models
import torch

from anydraft import SamplingParams, SpeculativeSession
from anydraft.cli.loading import load

GREEDY = SamplingParams(temperature=0)


def main() -> int:
    parser = argparse.ArgumentParser(description="several requests together against one by one")
    parser.add_argument("--sizes", default="1,4", help="batch sizes; the first is the base")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=48, help="new tokens a request")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    sizes = [int(size) for size in args.sizes.split(",")]
    target = load("target", str(models.fetch("smollm2-135m")), pack=True)
    prompts = [[*target.vocabulary.encode(text)] for text in models.humaneval_prompts(max(sizes))]
    sessions = {
        "plain": SpeculativeSession(target, sampling=GREEDY),
        "lookup 5": SpeculativeSession(target, "lookup", draft_length=5, sampling=GREEDY),
        "itself, tree 2x2x1": SpeculativeSession(target, target, tree="2x2x1", sampling=GREEDY),
    }
    print("| method | batch | tokens/s | times size 1 | in CPU seconds |\n|---|---|---|---|---|")
    equal = [measure(*item, prompts, sizes, args) for item in sessions.items()]
    return 0 if all(equal) else 1


def measure(
    name: str, session: SpeculativeSession, prompts: list[list[int]], sizes: list[int], args: Any
) -> bool:
    """Prints a line for each size; whether all texts were equal."""
    seconds: dict[int, list[tuple[float, float]]] = {size: [] for size in sizes}
    texts = set()
    for turn in range(args.rounds + 1):
        for size in sizes if turn % 2 else sizes[::-1]:
            began = time.perf_counter(), time.process_time()
            done = session.generate(prompts, max_new_tokens=args.tokens, batch_size=size)
            spent = (time.perf_counter() - began[0], time.process_time() - began[1])
            texts.add(tuple(tuple(generation.tokens) for generation in done))
            if turn:  # the first calls are slow
                seconds[size].append(spent)
    tokens = sum(len(generation.tokens) for generation in done)
    for size in sizes:
        gains = [
            median(
                a[clock] / b[clock] for a, b in zip(seconds[sizes[0]], seconds[size], strict=True)
            )
            for clock in (0, 1)
        ]
        rate = tokens / median(wall for wall, _ in seconds[size])
        print(f"| {name} | {size} | {rate:.1f} | {gains[0]:.2f} | {gains[1]:.2f} |", flush=True)
    if len(texts) > 1:
        print(f"{name}: TEXTS DIFFER", file=sys.stderr)
    return len(texts) == 1


if __name__ == "__main__":
    sys.exit(main())
