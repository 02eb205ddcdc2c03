"""The measurements as a JSON file and as tables in Markdown beside it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def write(result: dict[str, Any], file: Path) -> None:
    """`file` (.json) and the tables beside it (.md)."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    file.with_suffix(".md").write_text(markdown(result), encoding="utf-8")


def markdown(result: dict[str, Any]) -> str:
    """All tables."""
    where = result["machine"]
    versions = ", ".join(f"{k} {v}" for k, v in where["versions"].items() if v)
    commit = where["commit"] or "installed package"
    lines = [
        f"{result['date']}, {where['cpu']}, {where['cores']} cores, {where['threads']} thread(s), "
        f"{result['instruction_sets'][-1]}, {versions}, commit {commit[:12]}"
        f"{' with changes' if ' with' in commit else ''}. Medians of interleaved calls from "
        "Python. "
        f"Copy bandwidth {result['copy_bandwidth'] / 1e9:.1f} GB/s (read and written). Hot: one "
        "row again and again; streamed: 128 MiB of rows in turn. A ratio is the peer's time over "
        "ours.",
        "",
        "### Drawing one token from one row",
        "",
        "| vocab | dtype | what | input | ours µs | GB/s | of copy | ratios |",
        "|---|---|---|---|---|---|---|---|",
    ]
    lines += [_draw(row) for row in result["draws"]]
    lines += [
        "",
        "### Eight rows, one thread against two",
        "",
        "The machine's own ratio: bare exponentials on two threads that never wait.",
        "",
        "| vocab | one thread µs | two threads µs | ratio | the machine's own |",
        "|---|---|---|---|---|",
    ]
    for row in result["batches"]:
        one, two = (micro(row["seconds"][n]) for n in "12")
        ratio, limit = (f"{row[name]:.2f}" for name in ("ratio", "limit"))
        lines.append(f"| {row['vocab']} | {one} | {two} | {ratio} | {limit} |")
    lines += [
        "",
        "### Verifying one chain from logits, K = 4, float32, temperature 0.8",
        "",
        "The call: ours from Python with a vocabulary of 64. Bare exponentials: of the rows that "
        "must be read, and of one residual sweep where a draft is rejected.",
        "",
        "| vocab | accepted | ours µs | the call µs | ratios |",
        "|---|---|---|---|---|",
    ]
    for row in result["chains"]:
        cells = [str(row["vocab"]), str(row["accepted"])]
        cells += [micro(row["seconds"][name]) for name in ("ours", "the call")]
        lines.append(f"| {' | '.join(cells)} | {ratios(row)} |")
    return "\n".join(lines) + "\n"


def micro(seconds: float) -> str:
    """Microseconds."""
    return f"{seconds * 1e6:,.1f}"


def ratios(row: dict[str, Any]) -> str:
    """Every peer, its ratio and its time."""
    return "; ".join(
        f"{peer}: {ratio:.2f} ({micro(row['seconds'][peer])} µs)"
        for peer, ratio in row["ratios"].items()
    )


def _draw(row: dict[str, Any]) -> str:
    cells = [
        str(row["vocab"]),
        row["dtype"],
        row["what"],
        "streamed" if row["streamed"] else "hot",
        micro(row["seconds"]["ours"]),
        f"{row['bytes_per_second'] / 1e9:.1f}",
        f"{row['share_of_copy']:.0%}",
        ratios(row),
    ]
    return f"| {' | '.join(cells)} |"
