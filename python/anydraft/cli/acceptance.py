"""`anydraft bench acceptance`: tokens per step of every draft distribution and verifier on a pair
of models.
"""

from __future__ import annotations

import argparse
import datetime
import json
import sys
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from anydraft import _core
from anydraft.bench.timing import machine
from anydraft.cli.acceptance_tables import markdown, plot, summarise
from anydraft.cli.loading import add_model_options, load_drafter, load_target
from anydraft.cli.terminal import say
from anydraft.errors import InputError
from anydraft.prompts import prompt_ids


def add(kinds: Any) -> None:
    """Add the measurement to the subparsers of `anydraft bench`."""
    parser = kinds.add_parser(
        "acceptance",
        help="tokens per step of every draft distribution and verifier",
        description="Tokens per step of every draft distribution and verifier, on rows that all "
        "of them share.",
    )
    option = parser.add_argument
    option("--target", required=True, metavar="MODEL", help="folder or name of the model")
    option("--drafter", required=True, metavar="MODEL", help="folder or name of the model")
    option("--prompts", required=True, type=Path, metavar="FILE", help="a JSON list of texts")
    option("--chat", action="store_true", help="send them through the target's template")
    option("--temperatures", default="0.3,0.6,1.0", metavar="LIST")
    option("--length", type=int, default=32, metavar="N", help="tokens written for each prompt")
    option("--seed", type=int, default=0)
    add_model_options(option, backend="hf")
    option("--json", type=Path, metavar="FILE", help="write all means")
    option("--plot", type=Path, metavar="FILE", help="write a picture (PNG, needs matplotlib)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Measure, report, and return the exit status."""
    _check(args)
    texts = _texts(args.prompts)
    temperatures = _temperatures(args.temperatures)
    target = load_target(args)
    drafter = load_drafter(args)
    from anydraft.bench.shared_rows import Pair, Plan, Record, measure

    plan = Plan(temperatures, length=args.length, drawn=temperatures, seed=args.seed)
    if args.length < (least := max(plan.depths)):
        raise InputError(f"[bench acceptance] expected --length >= {least}, got {args.length}")
    prompts = [
        ("text", prompt_ids(target, [{"role": "user", "content": text}] if args.chat else text))
        for text in texts
    ]
    records: list[Record] = []
    for record in measure(Pair(target, drafter, temperatures), prompts, plan):
        if not records or record.prompt != records[-1].prompt:
            say(f"prompt {record.prompt + 1} of {len(prompts)}")
        records.append(record)
    result = {
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d"),
        "machine": machine(_core.threads()),
        "target": args.target,
        "drafter": args.drafter,
        "plan": asdict(plan),
        "prompts": len(prompts),
        "means": summarise(records),
    }
    if args.json:
        args.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    if args.plot:
        plot(result, args.plot)
    sys.stdout.write(markdown(result) + "\n")
    return 0


def _check(args: argparse.Namespace) -> None:
    """What would only fail after minutes."""
    if args.backend != "hf" or any(name.endswith(".gguf") for name in (args.target, args.drafter)):
        raise InputError(
            "[bench acceptance] expected models of transformers (a folder or name, --backend hf), "
            f"got --backend {args.backend}, {args.target} and {args.drafter}"
        )
    if args.drafter in ("lookup", "none"):
        raise InputError(f"[bench acceptance] expected a model as the drafter, got {args.drafter}")
    if args.plot and find_spec("matplotlib") is None:
        raise InputError("[bench acceptance] expected matplotlib for --plot: install extra plot")


def _texts(file: Path) -> list[str]:
    texts = json.loads(file.read_text(encoding="utf-8"))
    if not isinstance(texts, list) or not texts or not all(isinstance(t, str) for t in texts):
        raise InputError(f"[bench] expected a JSON list of texts in {file}, got something else")
    return texts


def _temperatures(text: str) -> tuple[float, ...]:
    values = tuple(float(part) for part in text.split(","))
    if not all(value > 0 for value in values):
        raise InputError(f"[bench] expected temperatures > 0, got {text}")
    return values
