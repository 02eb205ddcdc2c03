"""End to end: speculative against plain decoding of the same packed model, in one run.

    python bench/e2e/run.py [--quick] [--pair lookup|universal] [--prompts FROM:TO] [--out FILE]

Methods are interleaved prompt by prompt, in an order that rotates; all texts are compared with
plain decoding's. Writes bench/results/e2e-<date>.json and a Markdown table beside it. With
--prompts 2:4 only those are run and added to what FILE holds, for machines that are not free long.
"""

from __future__ import annotations

import argparse
import datetime
import gc
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

BENCH = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(BENCH))

import models  # noqa: E402
import torch  # noqa: E402
from methods import GREEDY, Measured, Method, ours, theirs  # noqa: E402
from quiet import undisturbed  # noqa: E402
from report import add, machine, markdown, summarise, write  # noqa: E402

from anydraft.cli.compare import compare  # noqa: E402
from anydraft.cli.loading import load  # noqa: E402

Prompts = list[list[int]]


def main() -> int:
    args = _parser().parse_args()
    torch.set_num_threads(args.threads)
    new_tokens = 16 if args.quick else 64
    date = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d")
    result: dict[str, Any] = {"date": date, "machine": machine(), "new_tokens": new_tokens}
    result["pairs"] = pairs = []
    out = args.out or BENCH / "results" / f"e2e-{date}{'-quick' if args.quick else ''}.json"
    if args.prompts.start and out.exists():
        pairs += json.loads(out.read_text(encoding="utf-8"))["pairs"]
    for name in args.pair or list(PAIRS):
        try:
            add(pairs, PAIRS[name](args.quick, args.prompts, new_tokens))
        except models.Unavailable as error:
            say(f"SKIPPED {name}: {error}")
        write(result, out)  # after each pair: a run of many minutes may be cut off
        gc.collect()
    print(markdown(result))
    say(f"written to {out}")
    return 0 if all(pair["lossless"] for pair in pairs) else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="speculative against plain decoding")
    parser.add_argument("--quick", action="store_true", help="2 prompts, 16 tokens, few methods")
    parser.add_argument("--pair", action="append", choices=list(PAIRS), help="default: all")
    parser.add_argument("--prompts", type=_range, default=slice(None), metavar="FROM:TO")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--out", type=Path, metavar="FILE", help="the JSON file")
    return parser


def _range(text: str) -> slice:
    start, end = map(int, text.split(":"))
    return slice(start, end)


def lookup(quick: bool, chosen: slice, new_tokens: int) -> dict[str, Any]:
    """Prompt lookup on SmolLM2, long prompts."""
    target = _load("target", "smollm2-135m")
    texts = models.long_prompts(2 if quick else 6)
    prompts = [target.chat([{"role": "user", "content": text}]) for text in texts]
    methods = [ours("plain", target, None, 0)]
    for length in (8,) if quick else (4, 8, 12):
        methods.append(ours(f"lookup {length}", target, "lookup", length))
    methods.append(theirs("transformers plain", target))
    for length in (10,) if quick else (4, 8, 12):
        name = f"transformers lookup {length}"
        methods.append(theirs(name, target, prompt_lookup_num_tokens=length))
    name = "SmolLM2-135M, prompt lookup, long prompts"
    return _measure(name, ["lookup"], target, methods, prompts, chosen, new_tokens)


def universal(quick: bool, chosen: slice, new_tokens: int) -> dict[str, Any]:
    """Qwen2.5-Coder-1.5B drafted by SmolLM2 across vocabularies, HumanEval."""
    target = _load("target", "qwen2.5-coder-1.5b")
    drafter = _load("drafter", "smollm2-135m")
    texts = models.humaneval_prompts(2 if quick else 5)
    prompts = [[*target.vocabulary.prefix, *target.vocabulary.encode(text)] for text in texts]
    methods = [ours("plain", target, None, 0)]
    fixed = {"slem": (4,) if quick else (3, 4, 5), "tli": (4,)}
    for bridge, lengths in fixed.items():
        for length in lengths:
            methods.append(ours(f"{bridge} {length}", target, drafter, length, bridge))
    methods.append(ours("slem up to 8, confidence 0.4", target, drafter, 8, "slem", 0.4))
    methods += [
        ours("lookup 8", target, "lookup", 8),
        theirs("transformers universal 4", target, drafter),
        theirs("transformers lookup 10", target, prompt_lookup_num_tokens=10),
    ]
    name = "Qwen2.5-Coder-1.5B drafted by SmolLM2-135M, HumanEval"
    return _measure(name, ["slem", "tli", "lookup"], target, methods, prompts, chosen, new_tokens)


PAIRS = {"lookup": lookup, "universal": universal}


def _load(role: str, name: str) -> Any:
    return load(role, str(models.fetch(name)), pack=True)


def _measure(
    name: str,
    kinds: list[str],
    target: Any,
    methods: list[Method],
    prompts: Prompts,
    chosen: slice,
    new_tokens: int,
) -> dict[str, Any]:
    for method in methods:  # nobody pays for first calls
        method.measure(prompts[0][:32], 4)
    table: dict[str, list[dict[str, Any]]] = {method.name: [] for method in methods}
    for i, prompt in list(enumerate(prompts))[chosen]:
        runs = _interleaved(methods, i, prompt, new_tokens)
        first = undisturbed(lambda p=prompt: methods[0].measure(p, 1)).seconds
        for method in methods:
            run = runs[method.name]
            table[method.name].append(_record(target, prompt, run, runs["plain"], first))
    pair = {
        "name": name,
        "kinds": kinds,
        "prompt_tokens": [len(prompt) for prompt in prompts[chosen]],
    }
    pair["methods"] = {name: {"prompts": runs} for name, runs in table.items()}
    # Of ours alone: a rival that differs is reported, and is no failure of this bench.
    own = [runs for name, runs in table.items() if not name.startswith("transformers ")]
    pair["lossless"] = all(run["identical"] or run["near_tie"] for runs in own for run in runs)
    summarise(pair)
    return pair


def _interleaved(
    methods: list[Method], turn: int, prompt: list[int], new_tokens: int
) -> dict[str, Measured]:
    """Every method on a prompt; each prompt begins with another method."""
    start = turn * 5 % len(methods)
    runs = {}
    for method in [*methods[start:], *methods[:start]]:
        runs[method.name] = run = undisturbed(lambda m=method: m.measure(prompt, new_tokens))
        say(f"prompt {turn}: {method.name}: {run.seconds:.2f} s, {len(run.tokens)} tokens")
    return runs


def _record(
    target: Any, prompt: list[int], run: Measured, plain: Measured, first: float
) -> dict[str, Any]:
    """A run as the JSON file holds it, compared with plain decoding's text."""
    comparison = compare(target, prompt, run.tokens, plain.tokens, "none", GREEDY)
    return asdict(run) | {
        "outside": run.outside,
        "decode_seconds": run.seconds - first,
        "first_token_seconds": first,
        "identical": comparison.identical,
        "near_tie": not comparison.identical and comparison.near_tie,
        "comparison": str(comparison),
    }


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
