"""Where a text ends besides the model's own end: at strings, or at ids."""

from __future__ import annotations

from collections.abc import Sequence

from anydraft.errors import InputError
from anydraft.sampling import Stop


def split(stop: Stop) -> tuple[list[str], list[int]]:
    """(strings, token ids) of what the caller gave.

    Raises:
        InputError: an empty string, or what is neither string nor id.
    """
    given = [stop] if isinstance(stop, str) else list(stop)
    for one in given:
        if not isinstance(one, str | int) or isinstance(one, bool) or one == "":
            raise InputError(f"[generate] expected stop of strings and token ids, got {one!r}")
    strings = [one for one in given if isinstance(one, str)]
    return strings, [one for one in given if isinstance(one, int)]


class StopStrings:
    """Bytes in, piece by piece; out comes what stands before the string that is whole first.

    What may yet turn out to begin one is held back.

    Attributes:
        found: whether one of them has come; nothing comes out any more then.
        held: what may begin one.

    >>> stops = StopStrings(["STOP"])
    >>> stops.feed(b"one S"), stops.feed(b"T"), stops.feed(b"ART STO"), stops.feed(b"P two")
    (b'one ', b'', b'START ', b'')
    >>> stops.found
    True
    """

    def __init__(self, strings: Sequence[str]) -> None:
        self.found = False
        self._strings = [string.encode() for string in strings]
        self.held = b""

    def feed(self, data: bytes) -> bytes:
        """What can be shown now."""
        if self.found or not self._strings:
            return b"" if self.found else data
        held = self.held + data
        # The one that is whole first, of several the longest: so pieces make no difference.
        places = [
            (at + len(string), at) for string in self._strings if (at := held.find(string)) >= 0
        ]
        self.found = bool(places)
        end = min(places)[1] if places else len(held) - self._begun(held)
        self.held = b"" if places else held[end:]
        return held[:end]

    def rest(self) -> bytes:
        """What was held back of a text that has ended otherwise."""
        held, self.held = self.held, b""
        return held

    def _begun(self, text: bytes) -> int:
        """The length of the longest end of `text` that begins a string."""
        longest = max(map(len, self._strings)) - 1
        for size in range(min(longest, len(text)), 0, -1):
            if any(string.startswith(text[-size:]) for string in self._strings):
                return size
        return 0
