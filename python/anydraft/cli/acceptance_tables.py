"""What `anydraft bench acceptance` shows: means, their errors, paired differences, a plot."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from statistics import mean, stdev
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # it imports torch
    from anydraft.bench.shared_rows import Record

Key = tuple[float, str, str, str]  # temperature, shape, draft, verifier
NAMES = {
    "one draft": "one draft",
    "iid": "RRS",
    "without_replacement": "RRS w/o replacement",
    "spechub": "SpecHub",
    "one_hot": "top-2",
}
# (better, worse), each draft and verifier: what the papers claim.
CLAIMS = [
    (("iid", "top_down"), ("one draft", "top_down")),
    (("spechub", "top_down"), ("iid", "top_down")),
    (("spechub", "top_down"), ("without_replacement", "top_down")),
    (("iid", "traversal"), ("iid", "top_down")),
    (("without_replacement", "traversal"), ("without_replacement", "top_down")),
    (("spechub", "traversal"), ("spechub", "top_down")),
    (("iid", "multipath"), ("iid", "traversal")),
]


def summarise(records: Iterable[Record]) -> list[dict[str, Any]]:
    """Tokens per step (accepted + 1) with standard errors over prompts; kind "all" first."""
    rows: list[dict[str, Any]] = []
    for kind, of_kind in _by_kind(records).items():
        means: dict[Key, dict[int, float]] = defaultdict(dict)
        for r in of_kind:
            means[r.temperature, r.shape, r.draft, r.verifier][r.prompt] = r.accepted + 1
        for (temperature, shape, draft, verifier), of_prompt in means.items():
            tokens, error = _mean_and_error(list(of_prompt.values()))
            row = {"kind": kind, "temperature": temperature, "shape": shape, "draft": draft}
            row |= {"verifier": verifier, "tokens": tokens, "error": error}
            row["gains"] = _gains(means, (temperature, shape, draft, verifier))
            rows.append(row)
    return rows


def _by_kind(records: Iterable[Record]) -> dict[str, list[Record]]:
    kinds: dict[str, list[Record]] = {"all": []}
    for record in records:
        kinds["all"].append(record)
        kinds.setdefault(record.kind, []).append(record)
    return kinds


def _gains(means: dict[Key, dict[int, float]], key: Key) -> dict[str, tuple[float, float]]:
    """Over each worse distribution or verifier, prompt by prompt: (mean, standard error)."""
    gains = {}
    for better, worse in CLAIMS:
        other = (*key[:2], *worse)
        if key[2:] == better and other in means:
            differences = [value - means[other][p] for p, value in means[key].items()]
            gains[" ".join(worse)] = _mean_and_error(differences)
    return gains


def _mean_and_error(values: list[float]) -> tuple[float, float]:
    error = stdev(values) / len(values) ** 0.5 if len(values) > 1 else 0.0
    return round(mean(values), 4), round(error, 4)


def markdown(result: dict[str, Any]) -> str:
    rows = [row for row in result["means"] if row["kind"] == "all"]
    lines = [
        "| T | shape | draft, verifier | tokens per step | gain over |",
        "|---|---|---|---|---|",
    ]
    for row in rows:
        gains = ", ".join(f"{k}: {m:+.3f} ± {e:.3f}" for k, (m, e) in row["gains"].items())
        lines.append(
            f"| {row['temperature']} | {row['shape']} | {NAMES[row['draft']]}, {row['verifier']} | "
            f"{row['tokens']:.3f} ± {row['error']:.3f} | {gains} |"
        )
    return "\n".join(lines)


def plot(result: dict[str, Any], file: Path) -> None:
    """Tokens per step by depth, a panel a temperature."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("a plot needs matplotlib: pip install 'anydraft[plot]'") from error
    temperatures, depths = result["plan"]["temperatures"], result["plan"]["depths"]
    figure = Figure(figsize=(4 * len(temperatures), 3.6), layout="constrained")
    found = {
        (r["temperature"], r["shape"], r["draft"]): r
        for r in result["means"]
        if r["kind"] == "all" and r["verifier"] == "top_down"
    }
    for panel, temperature in enumerate(temperatures, 1):
        axes = figure.add_subplot(1, len(temperatures), panel)
        for draft, name in NAMES.items():
            rows = [found[temperature, f"depth {depth}", draft] for depth in depths]
            axes.plot(depths, [row["tokens"] for row in rows], marker="o", label=name)
        axes.set(title=f"T = {temperature}", xlabel="depth of the tree", xticks=depths)
    figure.axes[0].set_ylabel("tokens per step")
    figure.axes[0].legend(fontsize=8)
    figure.savefig(file, dpi=120)
