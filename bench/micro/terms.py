"""How many terms psi has: drafter sequences that decode to each target token, by its length.

    python bench/micro/terms.py [TARGET:DRAFTER ...] [--out FILE]

A sequence of drafter tokens whose bytes join to the target token's is one term of the token's psi
in string-level rejection sampling (Timor et al. 2025, section 4: the count grows exponentially with
the token's length). "bytes" is a drafter with the 256 bytes as its tokens. No model, no clock.
Writes bench/results/terms-<date>.json.
"""

from __future__ import annotations

import argparse
import datetime
import json
import sys
from collections import defaultdict
from pathlib import Path
from statistics import mean, median
from typing import Any

BENCH = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(BENCH), str(BENCH / "e2e")]

import vocabularies  # noqa: E402
from packages import Unavailable, say  # noqa: E402
from report import machine  # noqa: E402

from anydraft import Vocabulary  # noqa: E402

PAIRS = [
    f"{target}:{drafter}"
    for target, drafter in [
        ("llama3", "bytes"),
        ("llama3", "smollm2"),
        ("smollm2", "llama3"),
        ("qwen3", "smollm2"),
        ("gemma3", "smollm2"),
        ("smollm2", "gemma3"),
        ("gemma3", "qwen3"),
    ]
]
LONGEST = 24  # bytes


def texts_of(name: str) -> list[bytes]:
    """The ordinary tokens of a vocabulary; several ids may have the same bytes."""
    if name == "bytes":
        return [bytes([i]) for i in range(256)]
    vocabulary = Vocabulary.from_file(vocabularies.fetch(name))
    texts = (vocabulary.token_bytes(i) for i in range(vocabulary.size))
    return [text for text in texts if text]


def terms(text: bytes, counts: dict[bytes, int], longest: int) -> int:
    """Sequences of tokens whose bytes join to the text."""
    ways = [1]
    for end in range(1, len(text) + 1):
        starts = range(max(0, end - longest), end)
        ways.append(sum(ways[at] * counts.get(text[at:end], 0) for at in starts))
    return ways[-1]


def by_length(target: str, drafter: str) -> dict[str, dict[str, Any]]:
    counts: dict[bytes, int] = defaultdict(int)
    for text in texts_of(drafter):
        counts[text] += 1
    counts, longest = dict(counts), max(map(len, counts))
    found: dict[int, list[int]] = defaultdict(list)
    for text in texts_of(target):
        if len(text) <= LONGEST:
            found[len(text)].append(terms(text, counts, longest))
    return {
        str(length): {
            "tokens": len(found[length]),
            "mean": round(mean(found[length]), 1),
            "median": median(found[length]),
            "most": max(found[length]),
        }
        for length in sorted(found)
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pairs", nargs="*", metavar="TARGET:DRAFTER", default=PAIRS)
    parser.add_argument("--out", type=Path, metavar="FILE", help="the JSON file")
    args = parser.parse_args()
    date = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d")
    result: dict[str, Any] = {"date": date, "machine": machine(), "terms by bytes": {}}
    for pair in args.pairs:
        target, _, drafter = pair.partition(":")
        try:
            rows = by_length(target, drafter)
        except Unavailable as error:
            say(f"SKIPPED {pair}: {error}")
            continue
        result["terms by bytes"][pair] = rows
        print(f"{target} from {drafter}\nbytes  tokens  mean terms  median  most")
        for length, row in rows.items():
            print(
                f"{length:>5} {row['tokens']:>7} {row['mean']:>11} {row['median']:>7} {row['most']}"
            )
    out = args.out or BENCH / "results" / f"terms-{date}.json"
    out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    say(f"written to {out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
