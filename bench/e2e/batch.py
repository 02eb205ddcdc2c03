"""What decoding several requests together gains: SmolLM2, packed, by batch size.

    python bench/e2e/batch.py [--sizes 1,4] [--rounds 5] [--tokens 48] [--threads N]

Every size decodes the same prompts with the same calls of `generate`, in turns; size 1 is one
request after another. All texts must be equal. Gains are medians of the rounds' ratios, with the
prompts' own calls and without them; CPU seconds say what a busy machine hides.
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
    print("| method | batch | tokens/s | gain | behind the prompts | gain, CPU | behind, CPU |")
    print("|---|---|---|---|---|---|---|")
    equal = [measure(*item, prompts, sizes, args) for item in sessions.items()]
    return 0 if all(equal) else 1


Prompts = list[list[int]]
Clocks = tuple[float, float]  # seconds on the wall, and of the CPU


def measure(
    name: str, session: SpeculativeSession, prompts: Prompts, sizes: list[int], args: Any
) -> bool:
    """Prints a line for each size; whether all texts were equal."""
    whole: dict[int, list[Clocks]] = {size: [] for size in sizes}
    behind: dict[int, list[Clocks]] = {size: [] for size in sizes}
    texts = []
    for turn in range(args.rounds + 1):
        for size in sizes if turn % 2 else sizes[::-1]:
            _, first = timed(session, prompts, 1, size)
            tokens, spent = timed(session, prompts, args.tokens, size)
            texts.append(tokens)
            if turn:  # the first calls are slow
                whole[size].append(spent)
                behind[size].append((spent[0] - first[0], spent[1] - first[1]))
    count = sum(map(len, texts[0]))
    for size in sizes:
        gains = [
            gain(times, size, sizes[0], clock) for clock in (0, 1) for times in (whole, behind)
        ]
        rate = count / median(wall for wall, _ in whole[size])
        print(f"| {name} | {size} | {rate:.1f} | {' | '.join(f'{g:.2f}' for g in gains)} |")
    sys.stdout.flush()
    equal = all(text == texts[0] for text in texts)
    if not equal:
        print(f"{name}: TEXTS DIFFER", file=sys.stderr)
    return equal


def timed(
    session: SpeculativeSession, prompts: Prompts, tokens: int, size: int
) -> tuple[list[list[int]], Clocks]:
    """The texts, and what they took."""
    began = time.perf_counter(), time.process_time()
    done = session.generate(prompts, max_tokens=tokens, batch_size=size)
    spent = time.perf_counter() - began[0], time.process_time() - began[1]
    return [generation.tokens for generation in done], spent


def gain(times: dict[int, list[Clocks]], size: int, base: int, clock: int) -> float:
    """How many times faster a size is than the base."""
    pairs = zip(times[base], times[size], strict=True)
    return median(slow[clock] / fast[clock] for slow, fast in pairs)


if __name__ == "__main__":
    sys.exit(main())
