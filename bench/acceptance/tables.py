"""Means, their errors, paired differences; JSON, a Markdown table and a plot."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np

from anydraft.contrib.shared_rows import Record

Key = tuple[float, str, str, str]  # temperature, shape, law, walk
NAMES = {"row": "RRS", "without_replacement": "RRS w/o replacement", "hub": "SpecHub"}
# (better, worse), each law and walk: what the papers claim.
CLAIMS = [
    (("hub", "top_down"), ("row", "top_down")),
    (("hub", "top_down"), ("without_replacement", "top_down")),
    (("row", "traversal"), ("row", "top_down")),
    (("without_replacement", "traversal"), ("without_replacement", "top_down")),
    (("hub", "traversal"), ("hub", "top_down")),
    (("row", "multipath"), ("row", "traversal")),
    (("row", "traversal"), ("row", "single path")),
]


def summarise(records: Iterable[Record]) -> list[dict[str, Any]]:
    """Tokens per step (accepted + 1) with standard errors over prompts; kind "all" first."""
    rows: list[dict[str, Any]] = []
    for kind, of_kind in _by_kind(records).items():
        cells: dict[Key, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
        for r in of_kind:
            value = r.accepted - r.luck + 1
            cells[r.temperature, r.shape, r.law, r.walk][r.prompt].append(value)
        means = {key: {p: mean(v) for p, v in found.items()} for key, found in cells.items()}
        for (temperature, shape, law, walk), of_prompt in means.items():
            tokens, error = _mean_and_error(list(of_prompt.values()))
            row = {"kind": kind, "temperature": temperature, "shape": shape, "law": law}
            row |= {"walk": walk, "tokens": tokens, "error": error}
            row["gains"] = _gains(means, (temperature, shape, law, walk))
            rows.append(row)
    return rows


def _by_kind(records: Iterable[Record]) -> dict[str, list[Record]]:
    kinds: dict[str, list[Record]] = {"all": []}
    for record in records:
        kinds["all"].append(record)
        kinds.setdefault(record.kind, []).append(record)
    return kinds


def _gains(means: dict[Key, dict[int, float]], key: Key) -> dict[str, tuple[float, float]]:
    """Over each worse law or walk, prompt by prompt: (mean, standard error)."""
    gains = {}
    for better, worse in CLAIMS:
        other = (*key[:2], *worse)
        if key[2:] == better and other in means:
            differences = [value - means[other][p] for p, value in means[key].items()]
            gains[" ".join(worse)] = _mean_and_error(differences)
    return gains


def _mean_and_error(values: list[float]) -> tuple[float, float]:
    error = float(np.std(values, ddof=1) / len(values) ** 0.5) if len(values) > 1 else 0.0
    return round(mean(values), 4), round(error, 4)


def markdown(result: dict[str, Any], kind: str = "all") -> str:
    rows = [row for row in result["means"] if row["kind"] == kind]
    lines = [
        "| T | draft | law, walk | tokens per step | gain over |",
        "|---|---|---|---|---|",
    ]
    for row in rows:
        gains = ", ".join(f"{k}: {m:+.3f} ± {e:.3f}" for k, (m, e) in row["gains"].items())
        lines.append(
            f"| {row['temperature']} | {row['shape']} | {NAMES[row['law']]}, {row['walk']} | "
            f"{row['tokens']:.3f} ± {row['error']:.3f} | {gains} |"
        )
    return "\n".join(lines)


def write(result: dict[str, Any], out: Path) -> None:
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    title = f"# Tokens per step on shared rows: SmolLM2-135M, drafter {result['drafter']}\n\n"
    about = (
        f"{result['prompts']} prompts (code, chat, long text in turn), "
        f"{len(result['plan']['anchors'])} places each; standard errors over prompts; commit "
        f"{result['machine']['commit']}.\n\n"
    )
    out.with_suffix(".md").write_text(title + about + markdown(result) + "\n", encoding="utf-8")


def plot(result: dict[str, Any], file: Path) -> None:
    """Tokens per step by depth, a panel a temperature; solid: traversal, dashed: top-down."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        print(f"no plot: matplotlib is missing, {file.name} is not written")
        return
    temperatures, depths = result["plan"]["temperatures"], result["plan"]["depths"]
    figure = Figure(figsize=(4 * len(temperatures), 3.6), layout="constrained")
    found = {
        (r["temperature"], r["shape"], r["law"], r["walk"]): r
        for r in result["means"]
        if r["kind"] == "all"
    }
    for panel, temperature in enumerate(temperatures, 1):
        axes = figure.add_subplot(1, len(temperatures), panel)
        for color, (law, name) in enumerate(NAMES.items()):
            for walk, style in (("traversal", "-"), ("top_down", "--")):
                rows = [found[temperature, f"binary {depth}", law, walk] for depth in depths]
                axes.errorbar(
                    depths,
                    [row["tokens"] for row in rows],
                    [row["error"] for row in rows],
                    linestyle=style,
                    color=f"C{color}",
                    label=f"{name}, {walk}",
                )
        axes.set(title=f"T = {temperature}", xlabel="depth of the binary tree", xticks=depths)
    figure.axes[0].set_ylabel("tokens per step")
    figure.axes[0].legend(fontsize=7)
    figure.savefig(file, dpi=120)
