"""Where a text ends besides the model's own end: at strings, or at ids."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

from anydraft.errors import InputError
from anydraft.gguf_metadata import read_metadata
from anydraft.vocabulary import Vocabulary

Stop: TypeAlias = str | Sequence[str | int]


def split(stop: Stop) -> tuple[list[str], list[int]]:
    """(strings, token ids) of what the caller gave.

    Raises:
        InputError: an empty string, or what is neither string nor id.
    """
    if isinstance(stop, bytes | bytearray) or not hasattr(stop, "__iter__"):
        raise InputError(f"[generate] expected stop of strings and token ids, got {stop!r}")
    given: list[str | int] = [stop] if isinstance(stop, str) else list(stop)
    for one in given:
        is_id = isinstance(one, int) and not isinstance(one, bool) and 0 <= one < 2**31
        if not (is_id or (isinstance(one, str) and one)):
            raise InputError(f"[generate] expected stop of strings and token ids, got {one!r}")
    strings = [one for one in given if isinstance(one, str)]
    return strings, [one for one in given if isinstance(one, int)]


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


def read_end_tokens(path: str | Path, vocabulary: Vocabulary) -> list[int]:
    """`end_tokens` of a model's folder (generation_config.json) or a GGUF file.

    Raises:
        InputError: a generation_config.json that is none.
        VocabularyError: a GGUF file that is damaged.
    """
    path = Path(path)
    if path.is_dir():
        return end_tokens(vocabulary, _listed(path / "generation_config.json"))
    metadata = read_metadata(path)
    ids = (metadata.get(f"tokenizer.ggml.{name}_token_id") for name in ("eos", "eot"))
    return end_tokens(vocabulary, list(dict.fromkeys(i for i in ids if isinstance(i, int))))


def _listed(file: Path) -> list[int]:
    if not file.is_file():
        return []
    try:
        ids = json.loads(file.read_text("utf-8")).get("eos_token_id")
        listed = [] if ids is None else [ids] if isinstance(ids, int) else [int(i) for i in ids]
    except (AttributeError, RecursionError, TypeError, ValueError) as error:
        raise InputError(
            f"[read_end_tokens] expected eos_token_id to be an id or a list of them in {file.name},"
            f" got {error!r}"
        ) from error
    return listed


class StopStrings:
    """Bytes in, piece by piece; out comes what stands before the string that is whole first.

    What may yet turn out to begin one is held back.

    Args:
        after: pieces, a token each, in which nothing is looked for.

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
        self.held = b""

    def feed(self, data: bytes) -> bytes:
        """What can be shown now."""
        if self.found or not self._strings:
            return b"" if self.found else data
        if self._after > 0:
            self._after -= 1
            return data
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
