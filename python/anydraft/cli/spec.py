"""`anydraft bench spec`: questions by task, temperature and batch size, on the same models."""

from __future__ import annotations

import argparse
import datetime
import json
import random
from pathlib import Path
from typing import Any

from anydraft import InputError, SamplingParams, _core
from anydraft.bench import decode, decode_peers, spec
from anydraft.bench.timing import machine
from anydraft.cache_folder import cache_folder
from anydraft.cli.decode import load_pair, questions
from anydraft.cli.terminal import say
from anydraft.prompts import prompt_ids


def add(kinds: Any) -> None:
    """Add the measurement to the subparsers of `anydraft bench`."""
    parser = kinds.add_parser(
        "spec",
        help="Spec-Bench's questions: speed over plain by task",
        description="Decodes a fixed sample of questions of each task plainly and by each method, "
        "in turns of one run, on the same models. Whole calls are timed, reading the prompts "
        "included. Other libraries stand beside these methods at batch 1 and T = 0; they decode "
        "a prompt after the other.",
    )
    option = parser.add_argument
    option(
        "--questions",
        action="append",
        type=Path,
        required=True,
        metavar="FILE",
        help="Spec-Bench's question.jsonl; again: HumanEval.jsonl.gz, its functions as a task",
    )
    option("--target", required=True, metavar="MODEL")
    option("--drafter", action="append", default=[], metavar="MODEL")
    option("--drafter-weights", default="int4", help="of drafters out of folders (default: int4)")
    option("--method", action="append", metavar="NAME", help="default: each drafter's automatic")
    option("--each", type=int, default=10, metavar="N", help="questions a task (default: 10)")
    option("--temperature", action="append", type=float, help="default: 0 and 0.7")
    option("--batch", action="append", type=int, help="default: 1, 4 and 8")
    option("--turns", type=int, default=3, help="times that all is measured (default: 3)")
    option("--tokens", type=int, default=64, metavar="N", help="of each text")
    option("--peer", action="append", default=[], metavar="NAME", help="say 'llama.cpp plain'")
    option("--peer-python", action="append", default=[], metavar="FILE", help="a Python with peers")
    option("--openvino-drafter", metavar="FILE", help="a GGUF file: it does not read Q5_0")
    option("--out", type=Path, required=True, metavar="FOLDER", help="a new one")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Measure, write the folder, print the table; 1 where texts differ that must not."""
    _check(args)
    ours = load_pair(args.target, args.drafter, args.drafter_weights, SamplingParams())
    every = {method.name: method for method in ours.methods()}
    names = args.method or [name for name in every if name.endswith(" auto")]
    if unknown := sorted(set(names) - every.keys()):
        raise InputError(
            f"[bench spec] expected methods out of {', '.join(every)}, got {unknown[0]}"
        )
    methods = [every[decode.PLAIN], *(every[name] for name in names)]
    chosen: dict[str, list[str]] = {}
    for file in args.questions:
        chosen |= sample(questions(file), args.each)
    prompts = {
        task: [prompt_ids(ours.target, [{"role": "user", "content": text}]) for text in some]
        for task, some in chosen.items()
    }
    peers = _peers(args, prompts)
    try:
        args.out.mkdir(parents=True)
        cells = spec.measure(
            ours,
            methods,
            prompts,
            temperatures=args.temperature or [0.0, 0.7],
            batches=args.batch or [1, 4, 8],
            turns=args.turns,
            tokens=args.tokens,
            peers=peers,
            told=_told,
        )
    finally:
        for peer in peers:
            peer.close()
    rows = spec.summary(cells)
    _write(args, ours, prompts, cells, rows, {peer.name: peer.version for peer in peers})
    print(spec.markdown(rows))
    own = {method.name for method in methods}
    greedy = [row for row in rows if row["temperature"] == 0 and row["method"] in own]
    return 0 if all(row["texts_equal"] for row in greedy) else 1


def _peers(args: argparse.Namespace, prompts: spec.Prompts) -> list[decode_peers.Peer]:
    """Those of --peer.

    Raises:
        InputError: one that cannot run here.
    """
    files = decode_peers.files_for(
        args.target, args.drafter, cache_folder() / "models", args.openvino_drafter
    )
    longest = max(len(ids) for some in prompts.values() for ids in some) + args.tokens
    peers, missing = decode_peers.start(
        args.peer, args.peer_python, files, _core.threads(), max(longest, decode_peers.CONTEXT)
    )
    for name, why in missing.items():
        for peer in peers:
            peer.close()
        raise InputError(f"[bench spec] expected peers that run here, got {name}: {why}")
    return peers


def _check(args: argparse.Namespace) -> None:
    if args.out.exists():
        raise InputError(f"[bench spec] expected --out to be new, got {args.out}, which exists")
    numbers = (args.each, args.turns, args.tokens, *(args.batch or ()))
    if min(numbers) < 1:
        raise InputError(
            "[bench spec] expected --each, --turns, --tokens and --batch of at least 1, got "
            f"{min(numbers)}"
        )
    known = [f"{library} {mode}" for library, modes in decode_peers.MODES.items() for mode in modes]
    if unknown := sorted(set(args.peer) - set(known)):
        raise InputError(
            f"[bench spec] expected --peer out of {', '.join(known)}, got {unknown[0]}"
        )


def sample(named: dict[str, str], each: int) -> dict[str, list[str]]:
    """So many questions of each task, always the same ones."""
    tasks: dict[str, list[str]] = {}
    for name, text in named.items():
        tasks.setdefault(decode.kind_of(name), []).append(text)
    chosen = random.Random(0)
    return {
        task: chosen.sample(texts, min(each, len(texts))) for task, texts in sorted(tasks.items())
    }


def _write(
    args: argparse.Namespace,
    ours: decode.Ours,
    prompts: spec.Prompts,
    cells: list[spec.Cell],
    rows: list[dict[str, Any]],
    versions: dict[str, str],
) -> None:
    """manifest.json, runs.json, table.md, and plot.png where matplotlib is installed."""
    manifest = {
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d"),
        "machine": machine(_core.threads()),
        "peers": versions,
        "arguments": {
            **{
                name: value
                for name, value in vars(args).items()
                if name not in ("run", "out", "peer_python", "openvino_drafter")
            },
            "questions": [file.name for file in args.questions],
            "target": Path(args.target).name,
            "drafter": [Path(name).name for name in args.drafter],
        },
        "target": getattr(ours.target, "description", ""),
        "drafters": {
            name: getattr(model, "description", "") for name, model in ours.drafters.items()
        },
        "row_costs": {
            name: getattr(model, "row_costs", None)
            for name, model in {"target": ours.target, **ours.drafters}.items()
        },
        "prompt_tokens": {task: [len(ids) for ids in some] for task, some in prompts.items()},
        "summary": rows,
    }
    written = {"manifest.json": manifest, "runs.json": spec.as_json(cells)}
    for name, told in written.items():
        text = json.dumps(told, indent=1, default=str)
        (args.out / name).write_text(text + "\n", encoding="utf-8")
    (args.out / "table.md").write_text(spec.markdown(rows), encoding="utf-8")
    try:
        spec.plot(rows, args.out / "plot.png")
    except ImportError:
        say("no plot: it needs matplotlib (pip install 'anydraft[plot]')")


def _told(cell: spec.Cell) -> None:
    say(
        f"  turn {cell.turn}, T = {cell.temperature:g}, batch {cell.batch}, {cell.task}, "
        f"{cell.method}: {cell.tokens / cell.seconds:.1f} tokens/s"
    )
