"""What the command line shows: coloured tokens, status lines, a table."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import TextIO

from anydraft import Event

_COLOURS = {"accepted": "32", "recovered": "33", "bonus": "36"}
# A model may write escape sequences, which a terminal must not obey; C1's are among them.
_CONTROLS = {
    i: "\N{REPLACEMENT CHARACTER}" for i in (*range(32), *range(127, 160)) if chr(i) not in "\n\t"
}


def say(line: str, *, end: str = "\n") -> None:
    """Write to stderr at once."""
    print(line, end=end, file=sys.stderr, flush=True)


def wants_colour(stream: TextIO) -> bool:
    """A terminal whose user has not asked for none."""
    dumb = os.environ.get("TERM") == "dumb" or os.environ.get("NO_COLOR")
    return stream.isatty() and not dumb


def harmless(text: str) -> str:
    """Without control characters, for a terminal."""
    return text.translate(_CONTROLS)


def for_stdout(text: str) -> str:
    """As it is, or harmless where stdout is a terminal."""
    return harmless(text) if sys.stdout.isatty() else text


def paint(text: str, origin: str) -> str:
    """Text in the colour of its origin, for a terminal."""
    return f"\033[{_COLOURS[origin]}m{harmless(text)}\033[0m" if text else ""


class TextStream:
    """Events as text on stdout, as they come."""

    def __init__(self, *, colour: bool) -> None:
        if hasattr(sys.stdout, "reconfigure"):  # a terminal that lacks a letter shows "?"
            sys.stdout.reconfigure(errors="replace")
        self._colour = colour

    def write(self, event: Event) -> None:
        """Show one token."""
        text = for_stdout(event.text)
        print(paint(text, event.origin) if self._colour else text, end="", flush=True)

    def end(self) -> None:
        """Close the last line."""
        print(flush=True)


def legend() -> str:
    """What the colours mean."""
    return "  ".join(paint(origin, origin) for origin in _COLOURS)


def table(rows: Sequence[Sequence[str]]) -> str:
    """Aligned columns: the first to the left, numbers to the right."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [cell.rjust(width) for cell, width in zip(row, widths, strict=True)]
        lines.append("  ".join([row[0].ljust(widths[0]), *cells[1:]]))
    return "\n".join(lines)
