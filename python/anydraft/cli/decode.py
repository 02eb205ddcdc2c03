"""`anydraft bench decode`: plain decoding, every method of drafting, and other libraries."""

from __future__ import annotations

import argparse
import datetime
import gzip
import json
from pathlib import Path
from typing import Any

from anydraft import InputError, SamplingParams, _core
from anydraft.bench import decode, decode_peers
from anydraft.bench.timing import machine
from anydraft.cache_folder import cache_folder
from anydraft.cli.loading import load
from anydraft.cli.terminal import say, table

_HUMANEVAL = "prompts/HumanEval.jsonl.gz"
# In the cache folder, where bench/models.py puts them: target, drafters, prompts.
PRESETS = {
    "qwen-1.5b": (
        "gguf/qwen2.5-coder-1.5b.gguf",
        # The 0.5B's 896 columns force GGUF to 5 and 8 bits; out of its folder it has 4.
        ("gguf/smollm2-135m.gguf", "gguf/qwen2.5-coder-0.5b.gguf", "models/qwen2.5-coder-0.5b"),
        _HUMANEVAL,
    ),
    "smollm2": ("gguf/smollm2-135m.gguf", (), _HUMANEVAL),
}


def add(kinds: Any) -> None:
    """Add the measurement to the subparsers of `anydraft bench`."""
    parser = kinds.add_parser(
        "decode",
        help="tokens a second: plain, every method, other libraries",
        description="Decodes prompts plainly and by every method, in turns of one run, prefill and "
        "decoding apart, and compares the texts. llama.cpp (llama-cpp-python), OpenVINO GenAI and "
        "transformers stand beside them where they are installed, each in its own process: plain, "
        "and by their own speculation, on the same GGUF files (transformers: on the folders that "
        "bench/models.py made these of). Methods are chosen on "
        "the tuning prompts and measured on the others.",
    )
    option = parser.add_argument
    option("--preset", choices=sorted(PRESETS), help="models and prompts out of the cache folder")
    option("--target", metavar="MODEL")
    option("--drafter", action="append", default=[], metavar="MODEL")
    option("--drafter-weights", default="int4", help="of drafters out of folders (default: int4)")
    option(
        "--prompts",
        type=Path,
        metavar="FILE",
        help="a JSON list of texts, an object of named ones, HumanEval's or Spec-Bench's file",
    )
    option(
        "--tune", type=int, default=3, metavar="N", help="the first N prompts choose the methods"
    )
    option("--range", default="3:23", metavar="A:B", help="prompts that are measured")
    option("--each", type=int, metavar="N", help="measure N of each kind, behind the tuned")
    option("--method", action="append", metavar="NAME", help="these alone, without tuning")
    option("--turns", type=int, default=1, metavar="N", help="runs a prompt; their median counts")
    option("--tokens", type=int, default=64, metavar="N")
    option("--temperature", type=float, default=0.0)
    option("--seed", type=int, default=0)
    option("--chat", action="store_true", help="send prompts through the target's template")
    option("--peer", action="append", choices=sorted(decode_peers.MODES), help="default: all")
    option("--no-peer", action="store_true", help="leave the others out")
    option("--peer-python", action="append", default=[], metavar="FILE", help="a Python with peers")
    option("--openvino-drafter", metavar="FILE", help="a GGUF file: it does not read Q5_0")
    option("--json", type=Path, metavar="FILE", help="results; those already in it count too")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Measure, report; 1 where texts differ that must not."""
    if args.turns < 1:
        raise InputError(f"[bench decode] expected --turns of at least 1, got {args.turns}")
    if args.peer and (args.no_peer or args.temperature > 0):
        raise InputError("[bench decode] expected --peer at temperature 0, without --no-peer")
    target_name, drafter_names, named = _inputs(args)
    earlier = _earlier(args, list(named))
    texts = list(named.values())
    numbers = _numbers(args, list(named))
    sampling = SamplingParams(args.temperature, seed=args.seed)
    ours = load_pair(target_name, drafter_names, args.drafter_weights, sampling)
    wanted = sorted({*range(_tuned(args)), *numbers})
    prompts = {number: _ids(ours.target, texts[number], args.chat) for number in wanted}
    chosen, tuning = _chosen(args, ours, prompts)
    peers = _peers(args, target_name, drafter_names)
    try:
        runs = decode.measure(
            ours, chosen, [(n, prompts[n]) for n in numbers] * args.turns, args.tokens, peers, _told
        )
    finally:
        for peer in peers:
            peer.close()
    result = _result(args, ours, chosen, runs, peers, tuning, list(named), earlier)
    if args.json:
        args.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    _report(result)
    return 0 if result["texts_equal"] or args.temperature > 0 else 1


def _earlier(args: argparse.Namespace, names: list[str]) -> dict[str, Any]:
    """Results that the file has already."""
    if not args.json or not args.json.exists():
        return {}
    known: dict[str, Any] = json.loads(args.json.read_text("utf-8"))
    mine = {"tokens": args.tokens, "temperature": args.temperature}
    prompts = {str(number): name for number, name in enumerate(names)}
    told = known.get("prompt_names", {})
    same = all(known.get(name) == value for name, value in mine.items())
    if not (same and told.items() <= prompts.items()):
        raise InputError(f"[bench decode] expected the settings of {args.json}, got {mine}")
    if not all("first" in run for run in known["runs"]):
        raise InputError(f"[bench decode] expected results of this version in {args.json}")
    return known


def _tuned(args: argparse.Namespace) -> int:
    """How many prompts choose the methods."""
    return 0 if args.method else args.tune


def _numbers(args: argparse.Namespace, names: list[str]) -> list[int]:
    """The prompts that are measured."""
    if args.each is not None:
        kinds: dict[str, list[int]] = {}
        for number, name in enumerate(names):
            kinds.setdefault(decode.kind_of(name), []).append(number)
        behind = [[n for n in own if n >= _tuned(args)] for own in kinds.values()]
        chosen = [number for own in behind for number in own[: max(args.each, 0)]]
        if not chosen:
            raise InputError(f"[bench decode] expected --each N of {len(names)} prompts, got none")
        return chosen
    first, last = (int(part) for part in args.range.split(":"))
    if not 0 <= _tuned(args) <= first < last <= len(names):
        raise InputError(
            f"[bench decode] expected --range A:B behind {_tuned(args)} tuning prompts and within "
            f"{len(names)}, got {args.range} (of few prompts say --tune 1 --range 1:{len(names)})"
        )
    return list(range(first, last))


def _inputs(args: argparse.Namespace) -> tuple[str, list[str], dict[str, str]]:
    """(target, drafters, prompts by name)."""
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
    return target, drafters, questions(Path(file))


def load_pair(
    target: str, drafters: list[str], weights: str, sampling: SamplingParams
) -> decode.Ours:
    """A target and its drafters by name; `weights`: of drafters out of folders."""
    loaded = {_named(name, weights): _drafter(name, weights) for name in drafters}
    return decode.Ours(load("target", target), loaded, sampling)


def questions(file: Path) -> dict[str, str]:
    """Prompts by name, out of a file of any known kind."""
    if file.name.endswith(".jsonl.gz"):
        with gzip.open(file, "rt", encoding="utf-8") as lines:
            tasks = [json.loads(line) for line in lines]
        return {task["task_id"]: task["prompt"] for task in tasks}
    if file.suffix == ".jsonl":  # Spec-Bench
        questions = [json.loads(line) for line in file.read_text("utf-8").splitlines()]
        return {f"{_task(q['category'])}: {q['question_id']}": q["turns"][0] for q in questions}
    texts = json.loads(file.read_text("utf-8"))
    if isinstance(texts, list):
        texts = {str(number): text for number, text in enumerate(texts)}
    if not isinstance(texts, dict) or not all(isinstance(t, str) for t in texts.values()):
        raise InputError(f"[bench decode] expected a JSON list or object of texts in {file}")
    return texts


def _task(category: str) -> str:
    tasks = ("translation", "summarization", "qa", "math_reasoning", "rag")
    return category if category in tasks else "conversation"  # MT-Bench's eight categories


def _short(name: str) -> str:
    return Path(name).stem if name.endswith(".gguf") else Path(name).name


def _named(name: str, weights: str) -> str:
    return f"{_short(name)}-{weights}" if Path(name).is_dir() else _short(name)


def _drafter(name: str, weights: str) -> Any:
    return load("drafter", name, **({"weights": weights} if Path(name).is_dir() else {}))


def _ids(target: Any, text: str, chat: bool) -> list[int]:
    from anydraft.prompts import prompt_ids

    return prompt_ids(target, [{"role": "user", "content": text}] if chat else text)


def _peers(args: argparse.Namespace, target: str, drafters: list[str]) -> list[decode_peers.Peer]:
    if args.no_peer or args.temperature > 0:
        return []
    files = decode_peers.files_for(
        target, drafters, cache_folder() / "models", args.openvino_drafter
    )
    libraries = args.peer or list(decode_peers.MODES)
    peers, missing = decode_peers.start(libraries, args.peer_python, files, _core.threads())
    for name, why in missing.items():
        say(f"{name}: left out, {why}")
    return peers


def _told(run: decode.Run) -> None:
    say(f"  prompt {run.prompt}, {run.method}: {run.speed:.1f} tokens/s")


def _chosen(
    args: argparse.Namespace, ours: decode.Ours, prompts: dict[int, list[int]]
) -> tuple[list[decode.Method], dict[str, Any] | None]:
    """The methods that are measured, and what the tuning prompts said of all."""
    every = ours.methods()
    if args.method:
        wanted = [decode.PLAIN, *args.method]
        if unknown := sorted(set(wanted) - {method.name for method in every}):
            known = ", ".join(method.name for method in every)
            raise InputError(f"[bench decode] expected methods out of {known}, got {unknown[0]}")
        return [method for method in every if method.name in wanted], None
    if _tuned(args) == 0:
        return every, None
    say(f"tuning on {args.tune} prompts")
    runs = decode.measure(ours, every, list(prompts.items())[: args.tune], args.tokens, (), _told)
    return decode.best_of_each(runs, every), decode.summary(runs)


def _result(
    args: argparse.Namespace,
    ours: decode.Ours,
    chosen: list[decode.Method],
    runs: list[decode.Run],
    peers: list[decode_peers.Peer],
    tuning: dict[str, Any] | None,
    names_of_prompts: list[str],
    known: dict[str, Any],
) -> dict[str, Any]:
    runs = [decode.Run(**run) for run in known.get("runs", ())] + runs
    about = machine(_core.threads())
    about["versions"] |= {peer.name.split()[0]: peer.version for peer in peers}
    prompt_names = {number: names_of_prompts[number] for number in sorted({r.prompt for r in runs})}
    names = {*known.get("chosen", ()), *(method.name for method in chosen)}
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
        "chosen": sorted(names),
        **decode.summary(runs, sorted(names)),
        "prompt_names": {str(n): name for n, name in prompt_names.items()},
        "kinds": decode.by_kind(runs, prompt_names),
        "runs": decode.as_json(runs),
    }


def _report(result: dict[str, Any]) -> None:
    header = [
        "",
        "tokens/s",
        "x plain",
        "x llama.cpp",
        "x openvino",
        "tokens/call",
        "accepted",
        "prefill s",
    ]
    rows = [[*header, "outside models", "texts"]]
    for name, row in result["methods"].items():
        rows.append(
            [
                name,
                f"{row['tokens_per_second']:.2f}",
                _told_ratio(row["over_plain"]),
                _told_ratio(row["over_llamacpp"]),
                _told_ratio(row["over_openvino"]),
                _told_ratio(row["tokens_per_target_call"]),
                "-" if row["acceptance"] is None else f"{row['acceptance']:.0%}",
                f"{row['prefill_seconds']:.2f}",
                f"{row['outside_models']:.1%}",
                "equal" if row["texts_equal"] else "differ",
            ]
        )
    print(table(rows))
    kinds: dict[str, dict[str, float | None]] = result["kinds"]
    if len(kinds) > 1:
        rows = [["x plain", *result["methods"]]]
        for kind, ratios in kinds.items():
            rows.append([kind, *(_told_ratio(ratios.get(name)) for name in result["methods"])])
        print(table(rows))
    print(
        f"{result['prompts']} prompts; best over plain {_told_ratio(result['best_over_plain'])}, "
        f"over llama.cpp {_told_ratio(result['best_over_llamacpp'])}, "
        f"over OpenVINO's best {_told_ratio(result['best_over_openvino'])}; "
        f"texts equal: {result['texts_equal']}"
    )


def _told_ratio(ratio: float | None) -> str:
    return "-" if ratio is None else f"{ratio:.2f}"
