"""Accepted tokens of every draft distribution and verifier on real models, on rows that all of
them share.

    python bench/acceptance/run.py [--drafter coarse|gemma] [--prompts N] [--out FILE]

The target is SmolLM2-135M. Drafters: itself with 3-bit weights (one vocabulary), or Gemma-270M over
the tokens both have (TLI). Writes JSON, a Markdown table and a plot.
"""

from __future__ import annotations

import argparse
import datetime
import json
import signal
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

BENCH = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(BENCH), str(BENCH / "e2e"), str(Path(__file__).parent)]

import models  # noqa: E402
import prompts  # noqa: E402
import torch  # noqa: E402
from coarse import coarsen  # noqa: E402
from report import machine  # noqa: E402

from anydraft.bench.shared_rows import Pair, Plan, Record, measure  # noqa: E402
from anydraft.cli.acceptance_tables import markdown, plot, summarise  # noqa: E402
from anydraft.cli.loading import load  # noqa: E402

BITS = 3  # SmolLM2's weights come with 4


def main() -> int:
    args = _parser().parse_args()
    # A shell's background ignores Ctrl-C; being ended keeps what is measured, too.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    torch.set_num_threads(args.threads)
    plan = Plan()
    try:
        pair = _pair(args.drafter, plan)
        texts = prompts.of_target(pair.target, -(-args.prompts // 3))[: args.prompts]
    except models.Unavailable as error:
        print(f"!!!! SKIPPED: {error}", file=sys.stderr)
        return 3
    date = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d")
    result: dict[str, Any] = {"date": date, "machine": machine(), "drafter": args.drafter}
    result |= {"plan": asdict(plan), "prompts": len(texts)}
    records: list[Record] = []
    started = time.perf_counter()
    try:
        for record in measure(pair, texts, plan):
            if not records or record.prompt != records[-1].prompt:
                _progress(record.prompt, len(texts), started)
            records.append(record)
    except KeyboardInterrupt:  # what is measured so far is a result
        result["prompts"] = records[-1].prompt
        records = [record for record in records if record.prompt < result["prompts"]]
    result["seconds"] = round(time.perf_counter() - started)
    result["means"] = summarise(records)
    out = args.out or BENCH / "results" / f"acceptance-{date}-{args.drafter}.json"
    _write(result, out)
    try:
        plot(result, out.with_suffix(".png"))
    except ImportError as error:
        print(f"no plot: {error}", file=sys.stderr)
    print(markdown(result))
    return 0


def _write(result: dict[str, Any], out: Path) -> None:
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    about = (
        f"# Tokens per step on shared rows: SmolLM2-135M, drafter {result['drafter']}\n\n"
        f"{result['prompts']} prompts (code, chat, long text in turn); standard errors over "
        f"prompts; commit {result['machine']['commit']}. depth d: trees of two children a node, "
        f"along {result['plan']['length']} tokens that the target wrote for each prompt. tree d, "
        f"paths k: {result['plan']['draws']} drawn trees (sets of k paths) a prompt; only their "
        "gains over each other are to be compared.\n\n"
    )
    out.with_suffix(".md").write_text(about + markdown(result) + "\n", encoding="utf-8")


def _pair(drafter: str, plan: Plan) -> Pair:
    folder = models.fetch("smollm2-135m")
    target = load("target", str(folder), pack=True)
    if drafter == "gemma":
        other = load("drafter", str(models.fetch("gemma3-270m")), pack=True)
    else:
        other = load("drafter", str(folder), pack=False)
        coarsen(other.model, BITS)
    return Pair(target, other, plan.temperatures)


def _progress(number: int, of: int, started: float) -> None:
    print(f"prompt {number + 1} of {of}, {time.perf_counter() - started:.0f} s", file=sys.stderr)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--drafter", choices=("coarse", "gemma"), default="coarse")
    parser.add_argument("--prompts", type=int, default=54, help="of three kinds in turn")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, help="JSON file; table and plot stand beside it")
    return parser


if __name__ == "__main__":
    sys.exit(main())
