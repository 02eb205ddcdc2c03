"""Tables and a plot of bench/e2e/bridges.py's runs, with standard errors."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from anydraft.cli.pair import Costs

Run = dict[str, Any]
Measure = Callable[[Sequence[Run]], float]


def per_call(runs: Sequence[Run]) -> float:
    """Tokens a target call."""
    return sum(run["tokens"] for run in runs) / sum(run["target_calls"] for run in runs)


def acceptance(runs: Sequence[Run]) -> float:
    """Share of the drafted tokens that was kept."""
    return sum(run["accepted"] for run in runs) / max(1, sum(run["drafted"] for run in runs))


def drafter_calls(runs: Sequence[Run]) -> float:
    """Drafter calls a target call."""
    return sum(run["draft_calls"] for run in runs) / sum(run["target_calls"] for run in runs)


def speed(costs: dict[str, Any]) -> Measure:
    """Tokens per plain target call's worth of time: target_calls * v(n) + draft_calls * c."""

    def modelled(runs: Sequence[Run]) -> float:
        cost = 0.0
        for run in runs:
            pair = Costs(**costs[run["pair"]])
            verify = pair.verify(1 + run["drafted"] / run["target_calls"])
            cost += run["target_calls"] * verify / pair.target[0]
            cost += run["draft_calls"] * pair.draft / pair.target[0]
        return sum(run["tokens"] for run in runs) / cost

    return modelled


def with_error(
    measure: Callable[[Sequence[tuple[Any, ...]]], float], groups: Sequence[tuple[Any, ...]]
) -> tuple[float, float]:
    """A measure of all groups, and its standard error by leaving out one group at a time."""
    whole, count = measure(groups), len(groups)
    if count < 2:
        return whole, math.nan
    parts = [measure([*groups[:i], *groups[i + 1 :]]) for i in range(count)]
    mean = sum(parts) / count
    return whole, math.sqrt((count - 1) / count * sum((part - mean) ** 2 for part in parts))


def compare(runs: Sequence[Run], measure: Measure) -> list[dict[str, Any]]:
    """Rows by pair and over all of them: each method, and auto over the best fixed bridge.

    Only prompts that every method has decoded count.
    """
    methods = list(dict.fromkeys(run["method"] for run in runs))
    texts: dict[tuple[Any, ...], dict[str, Run]] = {}
    for run in runs:
        texts.setdefault(tuple(run[k] for k in ("pair", "T", "kind", "prompt")), {})[
            run["method"]
        ] = run
    whole = {text: found for text, found in texts.items() if len(found) == len(methods)}
    wheres: dict[str, Callable[[tuple[Any, ...]], bool]] = {}
    for pair in dict.fromkeys(text[0] for text in whole):
        for kind in dict.fromkeys(text[2] for text in whole):
            wheres[f"{pair}, {kind}"] = lambda text, p=pair, k=kind: (text[0], text[2]) == (p, k)
        wheres[pair] = lambda text, p=pair: text[0] == p
    wheres |= {f"T = {t}": lambda text, t=t: text[1] == t for t in {text[1] for text in whole}}
    wheres["all"] = lambda text: True
    rows = []
    for where, belongs in wheres.items():
        groups = [tuple(found[m] for m in methods) for t, found in whole.items() if belongs(t)]
        columns = {
            method: with_error(lambda g, i=i: measure([runs[i] for runs in g]), groups)
            for i, method in enumerate(methods)
        }
        row = {"where": where, "texts": len(groups), "methods": columns}
        fixed = [i for i, method in enumerate(methods) if not method.startswith("auto")]
        if "auto" in methods and fixed:
            auto = methods.index("auto")
            best = max(fixed, key=lambda i: columns[methods[i]][0])
            row["ratio"] = with_error(
                lambda g, i=best, a=auto: (
                    measure([runs[a] for runs in g]) / measure([runs[i] for runs in g])
                ),
                groups,
            )
            row["best"] = methods[best]
        rows.append(row)
    return rows


def markdown(result: dict[str, Any]) -> str:
    """Tables: tokens a target call, acceptance, drafter calls, modelled speed."""
    machine, runs = result["machine"], result["runs"]
    lines = [
        f"{machine['cpu']}, {machine['threads']} thread(s), commit {machine['commit']}; "
        f"{result['new_tokens']} new tokens a text, draft length {result['draft_length']}, "
        "no early stop. ±: one standard error over texts; for the ratio, of paired texts.",
        "",
        *((result["note"], "") if "note" in result else ()),  # written into the JSON by hand
    ]
    for pair, costs in result["costs"].items():
        plain = costs["target"][0]
        sizes = ", ".join(f"{n}: {c / plain:.2f}" for n, c in enumerate(costs["target"], 1))
        lines.append(f"- {pair}: c = {costs['draft'] / plain:.2f}; v(n) {sizes}")
    tables = {
        "Tokens a target call": per_call,
        "Share of drafted tokens kept": acceptance,
        "Drafter calls a target call": drafter_calls,
        "Modelled speed, plain decoding = 1": speed(result["costs"]),
    }
    for title, measure in tables.items():
        rows = compare(runs, measure)
        methods = list(rows[0]["methods"])
        lines += ["", f"## {title}", "", f"| | texts | {' | '.join(methods)} | auto / best fixed |"]
        lines.append("|---" * (len(methods) + 3) + "|")
        for row in rows:
            cells = [_cell(row["methods"][method]) for method in methods]
            judged = "ratio" in row and measure is not drafter_calls  # fewer are no merit
            ratio = f"{_cell(row['ratio'])} ({row['best']})" if judged else ""
            lines.append(f"| {row['where']} | {row['texts']} | {' | '.join(cells)} | {ratio} |")
    return "\n".join(lines) + "\n"


def _cell(value: tuple[float, float]) -> str:
    return f"{value[0]:.2f} ± {value[1]:.2f}"


def plot(result: dict[str, Any], file: Path) -> None:
    """Tokens a target call by kind of prompt, a panel a pair; written to `file` (PNG)."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        print(f"no {file.name}: a plot needs matplotlib")
        return
    rows = {row["where"]: row for row in compare(result["runs"], per_call)}
    pairs = list(dict.fromkeys(run["pair"] for run in result["runs"]))
    kinds = list(dict.fromkeys(run["kind"] for run in result["runs"]))
    figure = Figure(figsize=(4 * len(pairs), 3.6), layout="constrained")
    for panel, pair in enumerate(pairs, 1):
        axes = figure.add_subplot(1, len(pairs), panel)
        shown = [rows[where] for where in [*(f"{pair}, {kind}" for kind in kinds), pair]]
        methods = list(shown[0]["methods"])
        width = 0.8 / len(methods)
        for i, method in enumerate(methods):
            values = [row["methods"][method] for row in shown]
            places = [x + (i - (len(methods) - 1) / 2) * width for x in range(len(shown))]
            heights, errors = zip(*values, strict=True)
            axes.bar(places, heights, width, yerr=errors, label=method, capsize=2)
        axes.set(title=pair, xticks=range(len(shown)), xticklabels=[*kinds, "all"], ylim=(1, None))
    figure.axes[0].set_ylabel("tokens a target call (± 1 standard error)")
    figure.axes[0].legend(fontsize=8)
    figure.savefig(file, dpi=120)
