"""Code blocks, edits and figures of README and docs, as the tests read them.

What an HTML comment in front of a block says:
    <!-- not run: REASON -->   the block is not run
    <!-- stand-ins -->         it is run with tiny models in place of those that it names
What a line in front of a block says, where the block is a change of the sources:
    In `FILE`, before `TEXT`:  (or after, instead of)
    New file `FILE`:
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")])
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_EDIT = re.compile(
    r"(?:In `([^`]+)`, (before|after|instead\s+of) `([^`]+)`|New\s+file `([^`]+)`):$"
)


@dataclass(frozen=True)
class Edit:
    """A change of the sources."""

    file: str
    where: str  # before, after, instead of, new
    text: str
    code: str

    def apply(self, source: str) -> str:
        """The file's text once changed. Raises ValueError where `text` is not there once."""
        if source.count(self.text) != 1:
            raise ValueError(f"{self.text!r} stands {source.count(self.text)} times in {self.file}")
        at = source.index(self.text)
        end = at + len(self.text)
        if self.where == "instead of":
            return source[:at] + self.code.rstrip("\n") + source[end:]
        if self.where == "before":
            begin = source.rindex("\n", 0, at) + 1
            return source[:begin] + self.code + source[begin:]
        end = source.index("\n", end) + 1
        return source[:end] + self.code + source[end:]


@dataclass(frozen=True)
class Block:
    page: Path
    line: int  # of its first line of code
    language: str
    code: str
    remark: str  # of the comment in front of it
    edit: Edit | None

    @property
    def name(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks_of(page: Path) -> list[Block]:
    """The fenced blocks of a page, in order."""
    text = page.read_text("utf-8")
    blocks = []
    for match in _FENCE.finditer(text):
        before = text[: match.start()].rstrip()
        paragraph = before[before.rfind("\n\n") + 1 :].strip()
        comment = re.search(r"<!--(.*?)-->$", paragraph, re.DOTALL)
        told = _EDIT.search(" ".join(paragraph.split()))
        edit = None
        if told:
            where = "new" if told[4] else " ".join(told[2].split())
            edit = Edit(told[4] or told[1], where, told[3] or "", match[2])
        line = text[: match.start(2)].count("\n") + 1
        blocks.append(
            Block(page, line, match[1], match[2], comment[1].strip() if comment else "", edit)
        )
    return blocks


def edits_of(page: Path) -> list[Edit]:
    return [block.edit for block in blocks_of(page) if block.edit]
