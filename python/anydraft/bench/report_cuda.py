"""The measurements on a CUDA device as a JSON file and as a table in Markdown beside it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def write(result: dict[str, Any], file: Path) -> None:
    """`file` (.json) and the table beside it (.md), each replaced whole."""
    file.parent.mkdir(parents=True, exist_ok=True)
    for name, text in (
        (file, json.dumps(result, indent=1) + "\n"),
        (file.with_suffix(".md"), markdown(result)),
    ):
        new = name.with_name(name.name + ".new")
        new.write_text(text, encoding="utf-8")
        new.replace(name)


def markdown(result: dict[str, Any]) -> str:
    """The table, with the machine and the peers above it."""
    where = result["machine"]
    versions = ", ".join(f"{k} {v}" for k, v in where["versions"].items() if v)
    peers = "; ".join(f"{name} {said}" for name, said in result["peers"].items())
    lines = [
        f"{result['date']}, {where['gpu']}, copy {result['copy_bandwidth'] / 1e12:.2f} TB/s "
        f"(read and written), bf16 rows, {versions}, commit {where['commit'] or 'unknown'}. Tokens "
        "are the CPU engine's in every line without an error. Medians of CUDA graph replays. Hot: "
        "one input again and again; streamed: 128 MiB of inputs in turn. Of copy: the "
        "bytes that must be read over the streamed time, against the copy. A ratio is the peer's "
        "streamed time, with the softmaxes and copies it needs, over ours; in brackets its hot and "
        "streamed µs and launches; not comparable: its tokens do not have the exact distribution "
        f"(of 64 tokens, by a sample). Peers: {peers}."
        + ("" if result["complete"] else " **Cut off: not all cases were measured.**"),
        "",
        "| what | vocab | requests | options | launches | hot µs | streamed µs | GB/s | of copy "
        "| peers |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    return "\n".join(lines + [_line(row) for row in result["rows"]]) + "\n"


def _line(row: dict[str, Any]) -> str:
    head = f"| {row['what']} | {row['vocab']} | {row['requests']} "
    if "error" in row:
        return head + f"| **{row['error']}** | | | | | | |"
    options = ", ".join(f"{k} {v}" for k, v in row["options"].items())
    cells = [
        options,
        str(row["launches"] or "?"),
        f"{row['hot_us']:.1f}",
        f"{row['streamed_us']:.1f}",
        f"{row['bytes_per_second'] / 1e9:,.0f}",
        f"{row['share_of_copy']:.0%}",
        "; ".join(_peer(name, peer) for name, peer in row["peers"].items()),
    ]
    return head + f"| {' | '.join(cells)} |"


def _peer(name: str, peer: dict[str, Any]) -> str:
    if "error" in peer:
        return f"{name}: {peer['error']}"
    times = f"{peer['hot_us']:.1f}, {peer['streamed_us']:.1f}, {peer['launches'] or '?'}"
    return f"{name}: {peer['ratio']:.2f} ({times})"
