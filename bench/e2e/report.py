"""Medians, the machine, a JSON file and a Markdown table."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import torch

from anydraft.bench import timing

Pair = dict[str, Any]


def machine(threads: int | None = None) -> dict[str, Any]:
    """Where this ran, and what of; `threads`: torch's unless given."""
    about = timing.machine(threads or torch.get_num_threads())
    return {**about, "capability": torch.backends.cpu.get_cpu_capability()}


def add(pairs: list[Pair], pair: Pair) -> None:
    """Puts a pair among the others: its prompts behind those of an earlier run of the same."""
    earlier = next((one for one in pairs if one["name"] == pair["name"]), None)
    if earlier is None:
        pairs.append(pair)
        return
    if earlier["methods"].keys() != pair["methods"].keys():
        raise ValueError(f"expected the methods of the run before, got {list(pair['methods'])}")
    for name, method in earlier["methods"].items():
        method["prompts"] += pair["methods"][name]["prompts"]
    earlier["prompt_tokens"] += pair["prompt_tokens"]
    earlier["lossless"] = earlier["lossless"] and pair["lossless"]
    summarise(earlier)


def summarise(pair: Pair) -> None:
    """Adds to every method of a pair its medians over the prompts."""
    plain = pair["methods"]["plain"]["prompts"]
    for method in pair["methods"].values():
        runs = method["prompts"]
        method["ratio"] = _median_ratio(plain, runs, lambda run: run["seconds"])
        method["ratio_decoding"] = _median_ratio(plain, runs, lambda run: run["decode_seconds"])
        method["tokens_per_second"] = median(len(run["tokens"]) / run["seconds"] for run in runs)
        method["tokens_per_call"] = median(len(run["tokens"]) / run["calls"][0] for run in runs)
        method["outside"] = median(run["outside"] for run in runs)
        method["identical"] = sum(run["identical"] for run in runs)
        method["near_ties"] = sum(run["near_tie"] for run in runs)
        for name in ("acceptance_rate", "accepted_per_call"):
            if all(name in run["stats"] for run in runs):
                method[name] = median(run["stats"][name] for run in runs)


def _median_ratio(plain: list[Any], runs: list[Any], seconds: Callable[[Any], float]) -> float:
    return median(seconds(a) / seconds(b) for a, b in zip(plain, runs, strict=True))


def markdown(result: dict[str, Any]) -> str:
    """All pairs as tables."""
    where = result["machine"]
    lines = [
        f"{result['date']}, {where['cpu']}, {where['cores']} cores, {where['threads']} threads, "
        f"torch {where['versions']['torch']}, transformers {where['versions']['transformers']}, "
        f"commit {where['commit'][:12]}{' with changes' if ' ' in where['commit'] else ''}. "
        f"Greedy, {result['new_tokens']} new tokens, packed models, medians over prompts. Ratio: "
        "seconds of `plain` over the method's; decoding: the same without the time to the first "
        "token of plain decoding.",
    ]
    for pair in result["pairs"]:
        lines += ["", *_pair_table(pair)]
    return "\n".join(lines) + "\n"


def _pair_table(pair: Pair) -> list[str]:
    count = len(pair["methods"]["plain"]["prompts"])
    head = ["ratio", "decoding", "tokens/s", "tokens/target call"]
    head += ["acceptance", "accepted/call", "outside forward"]
    lines = [
        f"### {pair['name']} ({count} prompts)",
        "",
        f"| method | {' | '.join(head)} | identical |",
        f"|---|{'---|' * (len(head) + 1)}",
    ]
    for name, method in pair["methods"].items():
        rate, each = method.get("acceptance_rate"), method.get("accepted_per_call")
        ties = f" ({method['near_ties']} near ties)" if method["near_ties"] else ""
        cells = [
            f"{method['ratio']:.2f}",
            f"{method['ratio_decoding']:.2f}",
            f"{method['tokens_per_second']:.2f}",
            f"{method['tokens_per_call']:.2f}",
            "" if rate is None else f"{rate:.0%}",
            "" if each is None else f"{each:.2f}",
            f"{method['outside']:.1%}",
            f"{method['identical']} of {count}{ties}",
        ]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return [*lines, "", *_headlines(pair)]


def _headlines(pair: Pair) -> list[str]:
    """The best of ours by kind, against plain decoding and against transformers' own."""
    lines = []
    for kind in pair["kinds"]:
        names = [name for name in pair["methods"] if name.startswith(f"{kind} ")]
        best = max(names, key=lambda name: float(pair["methods"][name]["ratio"]))
        line = f"- best {kind}: {best}, {pair['methods'][best]['ratio']:.2f} x plain"
        for rival in (name for name in pair["methods"] if name.startswith("transformers ")):
            runs = (pair["methods"][name]["prompts"] for name in (rival, best))
            ratio = _median_ratio(*runs, lambda run: run["seconds"])
            line += f", {ratio:.2f} x {rival}"
        lines.append(line)
    return lines


def write(result: dict[str, Any], file: Path) -> None:
    """The JSON file, and the tables beside it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    file.with_suffix(".md").write_text(markdown(result), encoding="utf-8")
