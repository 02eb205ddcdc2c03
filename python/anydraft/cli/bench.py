"""`anydraft bench kernels`: the engine's kernels, checked and timed beside their peers."""

from __future__ import annotations

import argparse
import datetime
from pathlib import Path
from typing import Any

from anydraft import InputError
from anydraft.bench import kernels_cpu, peers, report
from anydraft.cli import acceptance


def add(commands: Any) -> None:
    """Add the subcommand to a parser's subparsers."""
    bench = commands.add_parser("bench", help="measure the engine, or a pair of models")
    kinds = bench.add_subparsers(required=True, metavar="WHAT")
    acceptance.add(kinds)
    parser = kinds.add_parser(
        "kernels",
        help="draws and verification beside their peers",
        description="Checks the kernels, times them and their peers on one input, in one run. "
        "For steady figures set OMP_WAIT_POLICY=passive and leave the machine alone.",
    )
    parser.add_argument("--device", choices=["cpu"], default="cpu")
    parser.add_argument(
        "--peer", action="append", choices=peers.NAMES, help="default: those installed"
    )
    parser.add_argument("--vocab", action="append", type=int, help="default: four usual sizes")
    parser.add_argument("--threads", type=int, default=1, help="of ours and of torch")
    parser.add_argument("--seconds", type=float, default=0.2, help="for each line of a table")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write FILE.json and FILE.md")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Measure, print the tables, write them where asked to."""
    if args.threads < 1 or not all(size > 0 for size in args.vocab or ()):
        raise InputError("[bench] expected threads >= 1 and vocab >= 1")
    vocabs = tuple(args.vocab or kernels_cpu.VOCABS)
    chosen = tuple(args.peer or _installed())
    date = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d")
    result = {"date": date, **kernels_cpu.run(vocabs, chosen, args.threads, args.seconds)}
    if args.out:
        report.write(result, args.out.with_suffix(".json"))
    print(report.markdown(result))
    return 0


def _installed() -> list[str]:
    from importlib.util import find_spec

    return [name for name in peers.NAMES if find_spec(name)]
