"""The bridges side by side on real pairs of GGUF files: acceptance, tokens a target call, modelled
speed.

    python bench/e2e/bridges.py [--repeats N] [--pair NAME] [--method NAME] [--out FILE]

Three ordered pairs, three kinds of prompts, sampled at T = 0.6 and 1. No clock but for the cost of
the models' calls, which is measured first and stated. Writes JSON after every run, in
the end a Markdown table and a plot beside it; begun again with the same --out it goes on where it
was.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

BENCH = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(BENCH), str(BENCH / "acceptance")]

import models  # noqa: E402
from bridges_report import markdown, per_call, plot  # noqa: E402
from prompts import chat  # noqa: E402
from report import machine  # noqa: E402

from anydraft import SamplingParams, Slrs, SpeculativeSession, set_threads  # noqa: E402
from anydraft.cli.loading import load  # noqa: E402
from anydraft.cli.pair import Costs, measure_costs  # noqa: E402

PAIRS = {  # target, drafter
    "smollm2 <- gemma": ("smollm2-135m", "gemma3-270m"),
    "gemma <- smollm2": ("gemma3-270m", "smollm2-135m"),
    "qwen 1.5b <- smollm2": ("qwen2.5-coder-1.5b", "smollm2-135m"),
}
METHODS: dict[str, dict[str, Any]] = {
    "tli": {"bridge": "tli"},
    "slrs": {"bridge": "slrs"},
    "slem": {"bridge": "slem"},
    "auto": {"bridge": "auto"},
    "slrs, 2 drafter tokens": {"bridge": Slrs(stop_rule=2)},
    "slrs, settled": {"bridge": Slrs(stop_rule="settled")},
    "auto, length auto": {"bridge": "auto", "draft_length": "auto"},
}
COMPARED = ("tli", "slrs", "slem", "auto")  # run where no --method is given
TEMPERATURES = (0.6, 1.0)
TOGETHER = 4  # prompts of each kind in a batch
PROSE = (
    "Nobody in the village remembered when the bridge over the gorge was built, but",
    "Bees find their way back to the hive by the position of the sun and by",
    "The first steam engines were used to pump water out of mines. Later",
    "On the morning of her eightieth birthday Clara decided that she would",
    "A good loaf of bread needs only flour, water, salt and time. To begin with,",
    "The museum's new wing opens in spring. Its director says that visitors will",
    "Salt was once worth its weight in silver. Caravans carried it across",
    "The committee met for the third time this week. What it could not agree on was",
    "Glaciers move so slowly that nobody sees it. Over a century, however,",
    "Before you buy a second-hand bicycle, look at the frame first. Then",
    "He had never learnt to swim, and so when the boat began to take in water",
    "The orchestra tunes to the oboe because its pitch is steady. The conductor",
)
KINDS = ("prose", "code", "question")
MOST = len(PROSE)


@cache
def prompts_of(kind: str) -> list[str]:
    """As many of each kind; none that `auto` was tuned on."""
    if kind == "prose":
        return list(PROSE)
    if kind == "code":
        return models.humaneval_prompts(MOST + 1)[1:]
    return [f"Question: {text}\nAnswer:" for text in chat(MOST + 8)[8:]]


def main() -> int:
    args = _parser().parse_args()
    set_threads(args.threads)
    settings = {"new_tokens": args.new_tokens, "draft_length": args.draft_length}
    result: dict[str, Any] = {"machine": machine(args.threads), **settings, "costs": {}, "runs": []}
    if args.out.exists():
        result = json.loads(args.out.read_text(encoding="utf-8"))
        if any(result[name] != value for name, value in settings.items()):
            raise SystemExit(f"expected the settings of {args.out}, got {settings}")
    done = {_key(run) for run in result["runs"]}
    # The prompts are outermost: whatever is there when it is cut off covers all alike.
    parts = range(0, args.repeats, TOGETHER)
    for part, pair, heat, method in itertools.product(parts, args.pair, TEMPERATURES, args.method):
        runs = [
            {"pair": pair, "T": heat, "kind": kind, "prompt": prompt, "method": method}
            for prompt in range(part, min(part + TOGETHER, args.repeats))
            for kind in KINDS
        ]
        runs = [run for run in runs if _key(run) not in done]
        if not runs:
            continue
        target, drafter = (_model(name) for name in PAIRS[pair])
        if pair not in result["costs"]:
            result["costs"][pair] = asdict(_costs(target, drafter))
        result["runs"] += measure(target, drafter, runs, settings)
        _write(args.out, result)
        say(f"{pair} T={heat} {part} {method}: {per_call(result['runs'][-len(runs) :]):.2f}")
    args.out.with_suffix(".md").write_text(markdown(result), encoding="utf-8")
    plot(result, args.out.with_suffix(".png"))
    print(markdown(result))
    return 0


def measure(target: Any, drafter: Any, runs: list[Any], settings: dict[str, Any]) -> list[Any]:
    """Texts of one method, decoded together; a seed is the prompt's number, whatever the method."""
    session = SpeculativeSession(
        target,
        drafter,
        **{"draft_length": settings["draft_length"], **METHODS[runs[0]["method"]]},
        draft_confidence=0.0,
    )
    done = session.generate(
        [prompts_of(run["kind"])[run["prompt"]] for run in runs],
        max_tokens=settings["new_tokens"],
        sampling=[SamplingParams(run["T"], seed=run["prompt"] + 1) for run in runs],
    )
    names = ("tokens", "target_calls", "draft_calls", "drafted", "accepted", "bridges", "stopped")
    return [
        run | {name: getattr(one.stats, name) for name in names}
        for run, one in zip(runs, done, strict=True)
    ]


def _costs(target: Any, drafter: Any) -> Costs:
    return measure_costs(target, drafter, PROSE[0])


@cache
def _model(name: str) -> Any:
    return load("model", str(models.gguf(name)))


def _key(run: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(run[name] for name in ("pair", "T", "kind", "prompt", "method"))


def _write(file: Path, result: dict[str, Any]) -> None:
    scratch = file.with_suffix(".tmp")
    scratch.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    scratch.replace(file)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="bridges side by side on real pairs")
    parser.add_argument("--out", type=Path, default=BENCH / "results" / "bridges.json")
    parser.add_argument(
        "--repeats", type=int, default=4, help=f"prompts of each kind, at most {MOST}"
    )
    parser.add_argument("--pair", nargs="+", choices=list(PAIRS), default=list(PAIRS))
    parser.add_argument("--method", nargs="+", choices=list(METHODS), default=list(COMPARED))
    parser.add_argument("--new-tokens", type=int, default=48)
    parser.add_argument("--draft-length", type=int, default=4)
    parser.add_argument("--threads", type=int, default=2)
    return parser


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
