"""Plain decoding of eight requests together beside one at a time, on the native decoder.

    python bench/micro/batch.py [MODEL.gguf] [--tokens 64] [--turns 3] [--json FILE]

Medians of interleaved turns, whole texts with their prompts; the texts must be equal.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from statistics import median

from anydraft import SamplingParams, SpeculativeSession, _core, native
from anydraft.bench.timing import machine
from anydraft.cache_folder import cache_folder

PROMPTS = [
    f"The {thing} was old, and nobody in the village remembered who had made it. One morning"
    for thing in "bridge clock mill tower boat gate well road".split()
]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path, nargs="?")
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    model = native.load(args.model or cache_folder() / "gguf" / "smollm2-135m.gguf")
    session = SpeculativeSession(model, sampling=SamplingParams(temperature=0, ignore_eos=True))
    seconds: dict[int, list[float]] = {1: [], 8: []}
    texts = {}
    for _ in range(args.turns):
        for batch, times in seconds.items():
            start = time.perf_counter()
            made = session.generate(PROMPTS, max_tokens=args.tokens, batch_size=batch)
            times.append(time.perf_counter() - start)
            texts[batch] = [each.tokens for each in made]
    tokens = args.tokens * len(PROMPTS)
    speeds = {str(batch): round(tokens / median(times), 1) for batch, times in seconds.items()}
    result = {
        "machine": machine(_core.threads()),
        "model": model.description,
        "tokens": args.tokens,
        "tokens_per_second": speeds,
        "times_as_fast": round(median(seconds[1]) / median(seconds[8]), 2),
        "texts_equal": texts[1] == texts[8],
        "seconds": seconds,
    }
    print(json.dumps({k: v for k, v in result.items() if k != "machine"}))
    if args.json:
        args.json.write_text(json.dumps(result, indent=1) + "\n", "utf-8")
    return 0 if result["texts_equal"] else 1


if __name__ == "__main__":
    sys.exit(main())
