"""The bridges side by side on real pairs: acceptance, tokens a target call, modelled speed.

    python bench/e2e/bridges.py [--repeats N] [--pair NAME] [--method NAME] [--out FILE]

Three ordered pairs, three kinds of prompts, sampled at T = 0.6 and 1. No clock but for the cost of
the models' calls, which is measured first (or given) and stated. Writes JSON after every run, in
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
import torch  # noqa: E402
from bridges_report import markdown, plot  # noqa: E402
from prompts import chat  # noqa: E402
from report import machine  # noqa: E402

from anydraft import SamplingParams, SpeculativeSession  # noqa: E402
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
    "auto, length auto": {"bridge": "auto", "draft_length": "auto"},
}
COMPARED = ("tli", "slrs", "slem", "auto")  # run where no --method is given
TEMPERATURES = (0.6, 1.0)
PROSE = (
    "Nobody in the village remembered when the bridge over the gorge was built, but",
    "Bees find their way back to the hive by the position of the sun and by",
    "The first steam engines were used to pump water out of mines. Later",
    "On the morning of her eightieth birthday Clara decided that she would",
    "A good loaf of bread needs only flour, water, salt and time. To begin with,",
    "The museum's new wing opens in spring. Its director says that visitors will",
)
KINDS = ("prose", "code", "question")


@cache
def prompts_of(kind: str) -> list[str]:
    """As many of each kind; none that `auto` was tuned on."""
    if kind == "prose":
        return list(PROSE)
    if kind == "code":
        return models.humaneval_prompts(7)[1:]
    return [f"Question: {text}\nAnswer:" for text in chat(14)[8:]]


def main() -> int:
    args = _parser().parse_args()
    torch.set_num_threads(args.threads)
    settings = {"new_tokens": args.new_tokens, "draft_length": args.draft_length}
    result: dict[str, Any] = {"machine": machine(), **settings, "costs": {}, "runs": []}
    if args.out.exists():
        result = json.loads(args.out.read_text(encoding="utf-8"))
        if any(result[name] != value for name, value in settings.items()):
            raise SystemExit(f"expected the settings of {args.out}, got {settings}")
    done = {_key(run) for run in result["runs"]}
    # The repetition is outermost: whatever is there when it is cut off covers all alike.
    for repeat, pair, heat, kind, method in itertools.product(
        range(args.repeats), args.pair, TEMPERATURES, KINDS, args.method
    ):
        run = {"pair": pair, "T": heat, "kind": kind, "prompt": repeat, "method": method}
        if _key(run) in done:
            continue
        target, drafter = (_model(name) for name in PAIRS[pair])
        if pair not in result["costs"]:
            result["costs"][pair] = asdict(_costs(target, drafter))
        run |= measure(target, drafter, run, settings)
        result["runs"].append(run)
        _write(args.out, result)
        say(f"{pair} T={heat} {kind} {repeat} {method}: {run['tokens'] / run['target_calls']:.2f}")
    args.out.with_suffix(".md").write_text(markdown(result), encoding="utf-8")
    plot(result, args.out.with_suffix(".png"))
    print(markdown(result))
    return 0


def measure(target: Any, drafter: Any, run: dict[str, Any], settings: dict[str, Any]) -> Any:
    """One text; the seed is the prompt's number, whatever the method."""
    session = SpeculativeSession(
        target,
        drafter,
        **{"draft_length": settings["draft_length"], **METHODS[run["method"]]},
        draft_confidence=0.0,
        sampling=SamplingParams(run["T"], seed=run["prompt"] + 1),
    )
    prompt = prompts_of(run["kind"])[run["prompt"]]
    stats = session.generate(prompt, max_new_tokens=settings["new_tokens"]).stats
    names = ("tokens", "target_calls", "draft_calls", "drafted", "accepted", "seconds", "bridges")
    return {name: getattr(stats, name) for name in names}


def _costs(target: Any, drafter: Any) -> Costs:
    return measure_costs(target, drafter, PROSE[0])


@cache
def _model(name: str) -> Any:
    return load("model", str(models.fetch(name)), pack=True)


def _key(run: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(run[name] for name in ("pair", "T", "kind", "prompt", "method"))


def _write(file: Path, result: dict[str, Any]) -> None:
    scratch = file.with_suffix(".tmp")
    scratch.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    scratch.replace(file)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="bridges side by side on real pairs")
    parser.add_argument("--out", type=Path, default=BENCH / "results" / "bridges.json")
    parser.add_argument("--repeats", type=int, default=2, help="prompts of each kind, at most 6")
    parser.add_argument("--pair", nargs="+", choices=list(PAIRS), default=list(PAIRS))
    parser.add_argument("--method", nargs="+", choices=list(METHODS), default=list(COMPARED))
    parser.add_argument("--new-tokens", type=int, default=48)
    parser.add_argument("--draft-length", type=int, default=4)
    parser.add_argument("--threads", type=int, default=1)
    return parser


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
