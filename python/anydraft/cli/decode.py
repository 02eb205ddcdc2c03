"""`anydraft bench decode`: plain decoding, every method of drafting, and llama.cpp in one run."""

from __future__ import annotations

import argparse
import datetime
import gzip
import json
import os
from pathlib import Path
from typing import Any

from anydraft import InputError, SamplingParams, _core
from anydraft.bench import decode
from anydraft.bench.timing import machine
from anydraft.cache_folder import cache_folder
from anydraft.cli.loading import load
from anydraft.cli.terminal import say, table

_HUMANEVAL = "prompts/HumanEval.jsonl.gz"
# In the cache folder, where bench/models.py puts them: target, drafters, prompts.
PRESETS = {
    "qwen-1.5b": (
        "gguf/qwen2.5-coder-1.5b.gguf",
        ("gguf/smollm2-135m.gguf", "models/qwen2.5-coder-0.5b"),
        _HUMANEVAL,
    ),
    "smollm2": ("gguf/smollm2-135m.gguf", (), _HUMANEVAL),
}
_CONTEXT = 4096  # of llama.cpp


def add(kinds: Any) -> None:
    """Add the measurement to the subparsers of `anydraft bench`."""
    parser = kinds.add_parser(
        "decode",
        help="tokens a second: plain, every method, llama.cpp",
        description="Decodes prompts plainly and by every method, in turns of one run, prefill and "
        "decoding apart, and compares the texts. llama.cpp's plain decoding stands beside them "
        "where llama-cpp-python is installed and the target is a GGUF file. Methods are chosen on "
        "the tuning prompts and measured on the others.",
    )
    option = parser.add_argument
    option("--preset", choices=sorted(PRESETS), help="models and prompts out of the cache folder")
    option("--target", metavar="MODEL")
    option("--drafter", action="append", default=[], metavar="MODEL")
    option("--drafter-weights", default="int4", help="of drafters out of folders (default: int4)")
    option("--prompts", type=Path, metavar="FILE", help="a JSON list of texts, or HumanEval's file")
    option(
        "--tune", type=int, default=3, metavar="N", help="the first N prompts choose the methods"
    )
    option("--range", default="3:23", metavar="A:B", help="prompts that are measured")
    option("--method", action="append", metavar="NAME", help="these alone, without tuning")
    option("--tokens", type=int, default=64, metavar="N")
    option("--temperature", type=float, default=0.0)
    option("--seed", type=int, default=0)
    option("--chat", action="store_true", help="send prompts through the target's template")
    option("--no-peer", action="store_true", help="leave llama.cpp out")
    option("--json", type=Path, metavar="FILE", help="results; those already in it count too")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Measure, report; 1 where texts differ that must not."""
    target_name, drafter_names, texts = _inputs(args)
    first, last = (int(part) for part in args.range.split(":"))
    if not (0 <= args.tune <= first < last <= len(texts) or (args.method and first < last)):
        raise InputError(
            f"[bench decode] expected --range A:B behind the {args.tune} tuning prompts and within "
            f"{len(texts)}, got {args.range}"
        )
    target = load("target", target_name)
    drafters = {_short(name): _drafter(name, args.drafter_weights) for name in drafter_names}
    sampling = SamplingParams(args.temperature, seed=args.seed)
    ours = decode.Ours(target, drafters, sampling)
    prompts = [(i, _ids(target, text, args.chat)) for i, text in enumerate(texts[:last])]
    peer = None if args.no_peer or args.temperature > 0 else _peer(target_name)
    chosen, tuning = _chosen(args, ours, prompts)
    runs = decode.measure(ours, chosen, prompts[first:last], args.tokens, peer, _told)
    result = _result(args, ours, chosen, runs, peer, tuning)
    if args.json:
        args.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    _report(result)
    return 0 if result["texts_equal"] or args.temperature > 0 else 1


def _inputs(args: argparse.Namespace) -> tuple[str, list[str], list[str]]:
    """(target, drafters, prompts)."""
    target, drafters, file = args.target, list(args.drafter), args.prompts
    if args.preset:
        wanted, others, texts = PRESETS[args.preset]
        target = target or str(cache_folder() / wanted)
        drafters = drafters or [str(cache_folder() / other) for other in others]
        file = file or cache_folder() / texts
        for each in (target, *drafters, file):
            if not Path(each).exists():
                raise InputError(
                    f"[bench decode] expected {each}: fetch it with bench/models.py of a clone"
                )
    if not target or not file:
        raise InputError("[bench decode] expected --preset, or --target and --prompts")
    return target, drafters, _texts(Path(file))


def _texts(file: Path) -> list[str]:
    if file.name.endswith(".jsonl.gz"):
        with gzip.open(file, "rt", encoding="utf-8") as lines:
            return [json.loads(line)["prompt"] for line in lines]
    texts = json.loads(file.read_text("utf-8"))
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise InputError(f"[bench decode] expected a JSON list of texts in {file}")
    return texts


def _short(name: str) -> str:
    return Path(name).stem if name.endswith(".gguf") else Path(name).name


def _drafter(name: str, weights: str) -> Any:
    return load("drafter", name, **({"weights": weights} if Path(name).is_dir() else {}))


def _ids(target: Any, text: str, chat: bool) -> list[int]:
    from anydraft.prompts import prompt_ids

    return prompt_ids(target, [{"role": "user", "content": text}] if chat else text)


def _peer(target: str) -> decode.LlamaCpp | None:
    if not target.endswith(".gguf"):
        return None
    try:
        return decode.LlamaCpp(target, _CONTEXT, os.cpu_count() or 1)
    except ImportError:
        say("llama.cpp: not installed (pip install llama-cpp-python), left out")
        return None


def _told(run: decode.Run) -> None:
    say(f"  prompt {run.prompt}, {run.method}: {run.speed:.1f} tokens/s")


def _chosen(
    args: argparse.Namespace, ours: decode.Ours, prompts: list[tuple[int, list[int]]]
) -> tuple[list[decode.Method], dict[str, Any] | None]:
    """The methods that are measured, and what the tuning prompts said of all."""
    every = ours.methods()
    if args.method:
        wanted = [decode.PLAIN, *args.method]
        if unknown := sorted(set(wanted) - {method.name for method in every}):
            known = ", ".join(method.name for method in every)
            raise InputError(f"[bench decode] expected methods out of {known}, got {unknown[0]}")
        return [method for method in every if method.name in wanted], None
    if args.tune == 0:
        return every, None
    say(f"tuning on {args.tune} prompts")
    runs = decode.measure(ours, every, prompts[: args.tune], args.tokens, None, _told)
    return decode.best_of_each(runs, every), decode.summary(runs)


def _result(
    args: argparse.Namespace,
    ours: decode.Ours,
    chosen: list[decode.Method],
    runs: list[decode.Run],
    peer: decode.LlamaCpp | None,
    tuning: dict[str, Any] | None,
) -> dict[str, Any]:
    known: dict[str, Any] = {}
    if args.json and args.json.exists():
        known = json.loads(args.json.read_text("utf-8"))
        runs = [decode.Run(**run) for run in known["runs"]] + runs
    about = machine(_core.threads())
    if peer:
        about["versions"]["llama-cpp-python"] = peer.version
    names = [method.name for method in chosen]
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d"),
        "machine": known.get("machine", about),
        "target": getattr(ours.target, "description", ""),
        "drafters": {name: model.description for name, model in ours.drafters.items()},
        "row_costs": {
            "target": ours.target.row_costs,
            **{name: model.row_costs for name, model in ours.drafters.items()},
        },
        "tokens": args.tokens,
        "temperature": args.temperature,
        "tuning": known.get("tuning", tuning),
        **decode.summary(runs, names),
        "runs": decode.as_json(runs),
    }


def _report(result: dict[str, Any]) -> None:
    header = ["", "tokens/s", "x plain", "x llama.cpp", "tokens/call", "accepted", "prefill s"]
    rows = [[*header, "outside models", "texts"]]
    for name, row in result["methods"].items():
        rows.append(
            [
                name,
                f"{row['tokens_per_second']:.2f}",
                _told_ratio(row["over_plain"]),
                _told_ratio(row["over_llamacpp"]),
                f"{row['tokens_per_target_call']:.2f}",
                "-" if row["acceptance"] is None else f"{row['acceptance']:.0%}",
                f"{row['prefill_seconds']:.2f}",
                f"{row['outside_models']:.1%}",
                "equal" if row["texts_equal"] else "differ",
            ]
        )
    print(table(rows))
    print(
        f"{result['prompts']} prompts; best over plain {_told_ratio(result['best_over_plain'])}, "
        f"over llama.cpp {_told_ratio(result['best_over_llamacpp'])}; "
        f"texts equal: {result['texts_equal']}"
    )


def _told_ratio(ratio: float | None) -> str:
    return "-" if ratio is None else f"{ratio:.2f}"
