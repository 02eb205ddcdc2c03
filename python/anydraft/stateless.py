"""A model from a function without a cache."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from anydraft._core import Feed
from anydraft.errors import InputError
from anydraft.model import Model
from anydraft.vocabulary import Vocabulary


@dataclass
class _Stateless:
    function: Callable[[Any], Any]
    vocabulary: Vocabulary
    texts: dict[int, list[int]] = field(default_factory=dict)

    def __call__(self, feeds: list[Feed], /) -> Any:
        import torch

        rows = []
        for feed in feeds:
            slots = self.texts.get(feed.request, [])
            if len(slots) <= max(feed.keep, default=-1):
                raise InputError(
                    f"[stateless] expected slots to keep below {len(slots)}, got {feed.keep[-1]}"
                )
            kept = [slots[slot] for slot in feed.keep]
            self.texts[feed.request] = kept + feed.tokens
            with torch.no_grad():
                if feed.parents == list(range(-1, len(feed.tokens) - 1)):
                    ids = torch.tensor([kept + feed.tokens])
                    rows.append(self.function(ids)[0, ids.shape[1] - feed.rows :])
                    continue
                for node in range(len(feed.tokens) - feed.rows, len(feed.tokens)):
                    rows.append(self.function(torch.tensor([kept + _path(feed, node)]))[0, -1:])
        return torch.cat(rows)

    def forget(self, request: int) -> None:
        self.texts.pop(request, None)


def _path(feed: Feed, node: int) -> list[int]:
    """Tokens of a tree's node and of what it follows in the feed."""
    tokens = list[int]()
    while node >= 0:
        tokens.append(feed.tokens[node])
        node = feed.parents[node]
    return tokens[::-1]


def stateless(function: Callable[[Any], Any], vocabulary: Vocabulary) -> Model:
    """A model from a function without a cache.

    Args:
        function: ids, torch.int64 [batch, length] -> logits [batch, length, vocab], float32,
            bfloat16 or float16. The row at a place is what follows it.
        vocabulary: of the ids.

    Raises:
        InputError: when called, for a feed that keeps slots which are not there.

    >>> import torch
    >>> from anydraft import SpeculativeSession
    >>> v = Vocabulary.from_bytes([b"a", b"b"], encoder=lambda text: [ord(c) - 97 for c in text])
    >>> model = stateless(lambda ids: torch.nn.functional.one_hot(1 - ids, 2) * 99.0, v)
    >>> SpeculativeSession(model).generate("a", max_tokens=3).text
    'bab'
    """
    return _Stateless(function, vocabulary)
