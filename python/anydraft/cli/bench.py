"""`anydraft bench`, and `bench kernels` itself: kernels checked and timed beside peers."""

from __future__ import annotations

import argparse
import datetime
from pathlib import Path
from typing import Any

from anydraft import InputError
from anydraft.bench import kernels_cpu, kernels_cuda, peers, peers_cuda, report, report_cuda
from anydraft.cli import acceptance, decode, spec
from anydraft.cli.loading import check_threads


def add(commands: Any) -> None:
    """Add the subcommand to a parser's subparsers."""
    bench = commands.add_parser("bench", help="measure the engine, or a pair of models")
    kinds = bench.add_subparsers(required=True, metavar="WHAT")
    acceptance.add(kinds)
    decode.add(kinds)
    spec.add(kinds)
    parser = kinds.add_parser(
        "kernels",
        help="draws and verification beside their peers",
        description="Checks the kernels, times them and their peers on one input, in one run. "
        "For steady figures set OMP_WAIT_POLICY=passive and leave the machine alone.",
    )
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument(
        "--peer",
        action="append",
        choices=sorted({*peers.NAMES, *peers_cuda.NAMES}),
        help="default: those installed",
    )
    parser.add_argument("--vocab", action="append", type=int, help="default: usual sizes")
    parser.add_argument("--threads", type=int, default=1, help="of ours and of torch")
    parser.add_argument(
        "--seconds",
        type=float,
        help="for each line of a table (default 0.2); with --device cuda in all (default 240)",
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="write FILE.json and FILE.md")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Measure, print the tables, write them where asked to."""
    check_threads(args.threads)
    if wrong := [size for size in args.vocab or () if size < 1]:
        raise InputError(f"[bench] expected --vocab >= 1, got {wrong[0]}")
    if args.device == "cuda":
        return _run_cuda(args)
    date = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d")
    vocabs = tuple(args.vocab or kernels_cpu.VOCABS)
    chosen = _chosen(args, peers.NAMES) or tuple(_installed())
    seconds = args.seconds or 0.2
    result = {"date": date, **kernels_cpu.run(vocabs, chosen, args.threads, seconds)}
    if args.out:
        report.write(result, _results(args.out))
    print(report.markdown(result))
    return 0


def _run_cuda(args: argparse.Namespace) -> int:
    """As `run`; 1 where a case failed, in the tables too."""
    vocabs = tuple(args.vocab or kernels_cuda.VOCABS)
    chosen = _chosen(args, peers_cuda.NAMES) or peers_cuda.NAMES
    file = _results(args.out) if args.out else None
    result = kernels_cuda.run(vocabs, chosen, args.seconds or 240, file)
    print(report_cuda.markdown(result))
    return int(any("error" in row for row in result["rows"]))


def _results(out: Path) -> Path:
    """FILE.json; a name's other dots are no suffix."""
    return out if out.suffix == ".json" else out.with_name(f"{out.name}.json")


def _chosen(args: argparse.Namespace, names: tuple[str, ...]) -> tuple[str, ...]:
    chosen = tuple(args.peer or ())
    if unknown := sorted(set(chosen) - set(names)):
        raise InputError(f"[bench] expected peers out of {', '.join(names)}, got {unknown[0]}")
    return chosen


def _installed() -> list[str]:
    from importlib.util import find_spec

    return [name for name in peers.NAMES if find_spec(name)]
