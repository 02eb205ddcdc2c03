"""Text that may come, as a drafter."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from anydraft.errors import InputError, VocabularyError
from anydraft.vocabulary import Vocabulary

_BEHIND = 8  # last tokens of a text that say how the next ones are spelt
_LONGEST = 2048  # characters that are spelt: more than any draft takes


@dataclass(frozen=True)
class Text:
    """Drafts what a function expects to come: the rest of a form, of a document that is edited, of
    an answer given before. No model; what is wrong costs rows of the target's calls, never text.

    Args:
        function: the text so far, prompt included and specials left out -> what may follow it, or
            None. Called once a round of each request. What it raises ends its request.

    >>> import torch
    >>> from anydraft import SpeculativeSession, stateless
    >>> v = Vocabulary.from_bytes([b"a", b"b"], encoder=lambda text: [ord(c) - 97 for c in text])
    >>> model = stateless(lambda ids: torch.nn.functional.one_hot(1 - ids, 2) * 99.0, v)
    >>> session = SpeculativeSession(model, Text(lambda so_far: "babab" if so_far == "a" else None))
    >>> generation = session.generate("a", max_tokens=5)
    >>> generation.text, generation.stats.target_calls
    ('babab', 1)
    """

    function: Callable[[str], str | None]

    def __post_init__(self) -> None:
        if not callable(self.function):
            raise InputError(f"[Text] expected a function, got {self.function!r}")

    @classmethod
    def of_name(cls, name: str) -> Text:
        """A function by name, "package.module:function".

        Raises:
            InputError: nothing of this name can be called.
        """
        module, _, function = name.partition(":")
        try:
            found = getattr(importlib.import_module(module), function)
        except (ImportError, ValueError, TypeError, AttributeError) as error:
            raise InputError(
                f'[Text] expected a function as "package.module:function", got {name!r}: {error}'
            ) from None
        if not callable(found):
            raise InputError(f"[Text] expected a function as {name!r}, got {type(found).__name__}")
        return cls(found)

    def ids(self, vocabulary: Vocabulary, committed: Sequence[int]) -> list[int]:
        """What is expected behind these target ids.

        Raises:
            InputError: the function gave neither text nor None.
            What the function raises.
        """
        try:
            text = self.function(vocabulary.decode_as_owner(committed, skip_specials=True))
        except StopIteration as error:  # it would end whoever iterates over the events
            raise InputError("[Text] expected text or None, got StopIteration") from error
        if text is not None and not isinstance(text, str):
            raise InputError(f"[Text] expected text or None, got {text!r}")
        return spelt_behind(vocabulary, committed, text[:_LONGEST]) if text else []


def spelt_behind(vocabulary: Vocabulary, committed: Sequence[int], text: str) -> list[int]:
    """The ids that spell a text behind others: a tokeniser may spell it in another way at the
    beginning of a text. Empty where they merge with those before, or where none spell it."""
    before = list[bytes]()
    for token in reversed(committed[-_BEHIND:]):
        spelt = vocabulary.token_bytes(token)
        if spelt is None:  # a special: a text of its own begins behind it
            break
        before.insert(0, spelt)
    try:
        length = len(text.encode())
        ids = vocabulary.encode(b"".join(before).decode() + text)
    except (UnicodeError, VocabularyError):  # those before may end within a character
        return []
    for i in range(len(ids) - 1, -1, -1):
        length -= len(vocabulary.token_bytes(ids[i]) or b"")
        if length <= 0:
            return ids[i:] if length == 0 else []
    return []
