"""The metadata of a GGUF file, without its tensors."""

from __future__ import annotations

import mmap
import struct
from pathlib import Path
from typing import Any

from anydraft.errors import VocabularyError

GGUF_MAGIC = b"GGUF"
_VERSIONS = (2, 3)
# Kinds of value: the letter `struct` knows it by. 7 is a flag, 8 a string, 9 an array.
_NUMBERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 10: "Q", 11: "q", 12: "d"}
_FLAG, _STRING, _ARRAY = 7, 8, 9
_DEEPEST = 4  # arrays in arrays


def read_metadata(path: Path) -> dict[str, Any]:
    """All key-value pairs of a GGUF file of version 2 or 3, little-endian.

    Raises:
        VocabularyError: a file that is cut off, or none of these.
    """
    with path.open("rb") as file:
        try:
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except ValueError as error:  # an empty file
            raise _refused(path, "a GGUF file", "an empty one") from error
    with data:
        return _Reader(data, path).pairs()


def _refused(path: Path, expected: str, got: str) -> VocabularyError:
    return VocabularyError(f"[Vocabulary.from_file] expected {expected} in {path.name}, got {got}")


class _Reader:
    """Reads values one after the other; whatever reaches beyond the file is refused."""

    def __init__(self, data: mmap.mmap, path: Path) -> None:
        self._data, self._path, self._at = data, path, 0

    def pairs(self) -> dict[str, Any]:
        magic, version = self._bytes(4), self._number("I")
        if magic != GGUF_MAGIC or version not in _VERSIONS:
            swapped = magic == GGUF_MAGIC and version >> 16 != 0
            got = "big-endian numbers" if swapped else f"{magic!r}, version {version}"
            raise self._error("GGUF version 2 or 3", got)
        self._number("Q")  # how many tensors
        count = self._count(self._number("Q"), 13)  # the shortest pair: 8 + 4 + 1 bytes
        pairs = {}
        for _ in range(count):
            key = self._text()
            pairs[key] = self._value(self._number("I"), 0)
        return pairs

    def _value(self, kind: int, depth: int) -> Any:
        if kind in _NUMBERS:
            return self._number(_NUMBERS[kind])
        if kind == _FLAG:
            return self._bytes(1) != b"\0"
        if kind == _STRING:
            return self._text()
        if kind == _ARRAY and depth < _DEEPEST:
            return self._array(self._number("I"), depth)
        raise self._error("values of the known kinds", f"kind {kind}")

    def _array(self, kind: int, depth: int) -> list[Any] | bytes:
        letter = "?" if kind == _FLAG else _NUMBERS.get(kind)
        if letter is None:
            count = self._count(self._number("Q"), 8)
            return [self._value(kind, depth + 1) for _ in range(count)]
        size = struct.calcsize(letter)
        count = self._count(self._number("Q"), size)
        raw = self._bytes(count * size)
        return raw if letter in "bB" else list(struct.unpack(f"<{count}{letter}", raw))

    def _text(self) -> str:
        size = self._number("Q")
        raw = self._bytes(size)
        try:
            return raw.decode()
        except UnicodeDecodeError as error:
            raise self._error("UTF-8", repr(raw[:40])) from error

    def _number(self, letter: str) -> Any:
        return struct.unpack("<" + letter, self._bytes(struct.calcsize(letter)))[0]

    def _count(self, count: int, size: int) -> int:
        """How many entries, each of `size` bytes or more: no more than the file has room for."""
        if count * size > len(self._data) - self._at:
            raise self._error("a whole GGUF file", f"{count} entries where the file ends before")
        return count

    def _bytes(self, count: int) -> bytes:
        end = self._at + count
        if end > len(self._data):
            raise self._error("a whole GGUF file", f"its end at byte {len(self._data)}")
        part = self._data[self._at : end]
        self._at = end
        return part

    def _error(self, expected: str, got: str) -> VocabularyError:
        return _refused(self._path, expected, got)
