"""Where a text ends besides the model's own end: at strings, or at ids."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, AnyStr, TypeAlias

from anydraft.errors import InputError
from anydraft.vocabulary import Vocabulary

Stop: TypeAlias = str | Sequence[str | int]


def given(stop: Stop | None) -> tuple[str | int, ...]:
    """What the caller gave, read once: a tuple of strings and token ids.

    Raises:
        InputError: an empty string, or what is neither string nor id.
    """
    if isinstance(stop, bytes | bytearray) or not (stop is None or hasattr(stop, "__iter__")):
        raise InputError(f"[generate] expected stop of strings and token ids, got {stop!r}")
    listed = (stop,) if isinstance(stop, str) else () if stop is None else tuple(stop)
    for one in listed:
        is_id = isinstance(one, int) and not isinstance(one, bool) and 0 <= one < 2**31
        if not (is_id or (isinstance(one, str) and one)):
            raise InputError(f"[generate] expected stop of strings and token ids, got {one!r}")
    return listed


def end_tokens(vocabulary: Vocabulary, own: Sequence[int] = ()) -> list[int]:
    """The ids that end a text: the model's own list, else what its tokeniser says, else a guess.

    The guess goes by the texts of special tokens, and is made only where neither says anything: a
    token that looks like the end of a turn need not be one (gpt-oss ends at <|return|>, not at
    <|end|>).
    """
    if own:
        return list(own)
    said = vocabulary.role("end")
    return list(said or (*vocabulary.role("eos"), *vocabulary.role("turn_end")))


def of_request(target: Any, params: Any, stop: Stop | None) -> tuple[list[int], StopStrings]:
    """The ids that end a request's text, and the strings: its own, the parameters', the model's."""
    both = (*given(stop), *params.stop)
    listed = list(getattr(target, "stop_tokens", ()))
    own = [] if params.ignore_eos else end_tokens(target.vocabulary, listed)
    ids = [one for one in both if isinstance(one, int)]
    strings = [one for one in both if isinstance(one, str)]
    return [*own, *ids, *params.stop_token_ids], StopStrings(strings, params.min_tokens)


def begun(text: AnyStr, strings: Sequence[AnyStr]) -> int:
    """The length of the longest end of `text` that begins one of `strings` and is not all of it."""
    longest = max(map(len, strings)) - 1
    for size in range(min(longest, len(text)), 0, -1):
        if any(string.startswith(text[-size:]) for string in strings):
            return size
    return 0


class StopStrings:
    """Bytes in, piece by piece; out comes what stands before the string that is whole first.

    What may yet turn out to begin one is held back.

    Args:
        after: pieces, a token each, in which none may end.

    Attributes:
        found: whether one of them has come; nothing comes out any more then.
        held: what may begin one.

    >>> stops = StopStrings(["STOP"])
    >>> stops.feed(b"one S"), stops.feed(b"T"), stops.feed(b"ART STO"), stops.feed(b"P two")
    (b'one ', b'', b'START ', b'')
    >>> stops.found
    True
    """

    def __init__(self, strings: Sequence[str], after: int = 0) -> None:
        self.found = False
        self._strings = [string.encode() for string in strings]
        self._after = after
        self._passed = 0  # bytes of `held` in which none may end
        self.held = b""

    def feed(self, data: bytes) -> bytes:
        """What can be shown now."""
        if self.found or not self._strings:
            return b"" if self.found else data
        held = self.held + data
        if self._after > 0:
            self._after -= 1
            self._passed = len(held)
        # The one that is whole first, of several the longest: so pieces make no difference.
        places = [
            (at + len(string), at)
            for string in self._strings
            if (at := held.find(string, max(0, self._passed + 1 - len(string)))) >= 0
        ]
        self.found = bool(places)
        end = min(places)[1] if places else len(held) - begun(held, self._strings)
        self.held = b"" if places else held[end:]
        self._passed = max(0, self._passed - end)
        return held[:end]

    def rest(self) -> bytes:
        """What was held back of a text that has ended otherwise."""
        held, self.held = self.held, b""
        return held
