"""Tokens a second at a temperature: bridges, trees and defaults beside plain decoding.

    python bench/e2e/sampled.py [--temperature T] [--prompts FROM:TO] [--out FILE]

Qwen2.5-Coder-1.5B drafted by SmolLM2-135M, prompts of three kinds in turn, 64 new tokens. Sampled
texts differ from method to method, so what is compared is seconds a token, not texts: their
distributions are equal (tests/distributions). Every method has each prompt in turn, on an idle
machine. transformers' universal sampling is left out: its distribution is not the target's
(sampled_distribution.py).
"""

from __future__ import annotations

import argparse
import datetime
import json
import sys
from pathlib import Path
from statistics import median
from typing import Any

BENCH = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(BENCH), str(BENCH / "acceptance")]

import models  # noqa: E402
import torch  # noqa: E402
from bridges import KINDS, prompts_of  # noqa: E402
from methods import Method, of_session  # noqa: E402
from quiet import undisturbed  # noqa: E402
from report import machine  # noqa: E402

from anydraft import SamplingParams, SpeculativeSession  # noqa: E402
from anydraft.cli.loading import load  # noqa: E402

LONG: dict[str, Any] = {"draft_length": 8, "draft_confidence": 0.4}
METHODS: dict[str, dict[str, Any]] = {  # of anydraft
    "defaults": {},
    "auto, up to 8, confidence 0.4": LONG,
    "tli, up to 8, confidence 0.4": {"bridge": "tli"} | LONG,
    "slrs, up to 8, confidence 0.4": {"bridge": "slrs"} | LONG,
    "slem, up to 8, confidence 0.4": {"bridge": "slem"} | LONG,
    "slrs, 4": {"bridge": "slrs", "draft_confidence": 0},
    "auto, draft_length auto": {"draft_length": "auto", "draft_confidence": 0},
    "tli, tree 2,1,1 hub": {"bridge": "tli", "tree": "2,1,1", "scheme": "spechub"},
    "slrs, tree 2,1,1 hub": {"bridge": "slrs", "tree": "2,1,1", "scheme": "spechub"},
}
NEW_TOKENS = 64


def main() -> int:
    args = _parser().parse_args()
    torch.set_num_threads(args.threads)
    target, drafter = _load("target", "qwen2.5-coder-1.5b"), _load("drafter", "smollm2-135m")
    result: dict[str, Any] = {"machine": machine(), "temperature": args.temperature, "runs": []}
    if args.prompts[0] and args.out.exists():
        result = json.loads(args.out.read_text(encoding="utf-8"))
        if result["temperature"] != args.temperature:
            raise SystemExit(f"expected the temperature of {args.out}, got {args.temperature}")
    for number in range(*args.prompts):
        text = prompts_of(KINDS[number % 3])[number // 3]
        prompt = [*target.vocabulary.prefix, *target.vocabulary.encode(text)]
        methods = methods_of(target, drafter, args.temperature, seed=number + 1)
        for method in methods:  # nobody pays for first calls
            method.measure(prompt[:32], 4)
        first = undisturbed(lambda m=methods[0], p=prompt: m.measure(p, 1)).seconds
        for turn in range(len(methods)):
            method = methods[(turn + 5 * number) % len(methods)]
            result["runs"].append(record(method, number, prompt, first))
        args.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
        args.out.with_suffix(".md").write_text(markdown(result), encoding="utf-8")
    print(markdown(result))
    return 0


def methods_of(target: Any, drafter: Any, temperature: float, seed: int) -> list[Method]:
    """Plain decoding and ours."""
    sampling = SamplingParams(temperature, seed=seed)
    methods = [of_session("plain", SpeculativeSession(target, sampling=sampling))]
    for name, options in METHODS.items():
        session = SpeculativeSession(target, drafter, sampling=sampling, **options)
        methods.append(of_session(name, session))
    return methods


def record(method: Method, number: int, prompt: list[int], first: float) -> dict[str, Any]:
    """One text."""
    run = undisturbed(lambda: method.measure(prompt, NEW_TOKENS))
    count = len(run.tokens)
    print(f"{number} {method.name}: {count} in {run.seconds:.2f} s", file=sys.stderr, flush=True)
    return {
        "prompt": number, "kind": KINDS[number % 3], "method": method.name, "tokens": count,
        "seconds": run.seconds, "first_token_seconds": first, "calls": run.calls,
        "outside": run.outside,
    }  # fmt: skip


def markdown(result: dict[str, Any]) -> str:
    """Medians over prompts, and each kind's."""
    runs, where = result["runs"], result["machine"]
    lines = [
        f"{datetime.date.today()}, {where['cpu']}, {where['threads']} threads, commit "
        f"{where['commit'][:12]}. T = {result['temperature']}, up to {NEW_TOKENS} new tokens; "
        "Qwen2.5-Coder-1.5B drafted by SmolLM2-135M. Speed: tokens a second "
        "over plain decoding's on the same prompt, medians; decoding: without the first token.",
        "",
        f"| method | speed | decoding | {' | '.join(KINDS)} | tokens/target call | outside |",
        "|---|---|---|" + "---|" * (len(KINDS) + 2),
    ]
    plain = {run["prompt"]: run for run in runs if run["method"] == "plain"}
    for name in dict.fromkeys(run["method"] for run in runs):
        own = [run for run in runs if run["method"] == name]
        ratios = [(run["kind"], _rate(run) / _rate(plain[run["prompt"]])) for run in own]
        decoding = median(_rate(run, True) / _rate(plain[run["prompt"]], True) for run in own)
        kinds = [[ratio for kind, ratio in ratios if kind == wanted] for wanted in KINDS]
        cells = [f"{median(ratio for _, ratio in ratios):.2f}", f"{decoding:.2f}"]
        cells += [f"{median(each):.2f}" if each else "" for each in kinds]
        cells.append(
            f"{sum(run['tokens'] for run in own) / sum(run['calls'][0] for run in own):.2f}"
        )
        cells.append(f"{median(run['outside'] for run in own):.1%}")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _rate(run: dict[str, Any], decoding: bool = False) -> float:
    """Tokens a second; decoding: behind the first, whose time holds the prompt's."""
    first = run["first_token_seconds"] if decoding else 0.0
    return float((run["tokens"] - decoding) / (run["seconds"] - first))


def _load(role: str, name: str) -> Any:
    return load(role, str(models.fetch(name)), pack=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="tokens a second at a temperature")
    parser.add_argument("--temperature", type=float, default=0.7)
    parser.add_argument("--prompts", type=_range, default=(0, 6), metavar="FROM:TO")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--out", type=Path, default=BENCH / "results" / "e2e-sampled.json")
    return parser


def _range(text: str) -> tuple[int, int]:
    start, end = map(int, text.split(":"))
    return start, end


if __name__ == "__main__":
    sys.exit(main())
