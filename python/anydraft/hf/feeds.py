"""What a call of a model is handed, and how it is checked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from anydraft.errors import InputError
from anydraft.hf.slots import Slots


class Feed(Protocol):
    """What one call feeds to one request; the core's class of that name, seen from here."""

    @property
    def request(self) -> int:
        """The request's id."""

    @property
    def tokens(self) -> Sequence[int]:
        """Token ids [new]."""

    @property
    def positions(self) -> Sequence[int]:
        """The position of each token in its own path [new]."""

    @property
    def parents(self) -> Sequence[int]:
        """The index in this feed of each token's parent [new]; -1: the last slot kept;
        -2 - s: slot s of those kept."""

    @property
    def keep(self) -> Sequence[int] | None:
        """The cache slots to retain before feeding, increasing, each with its parent; None: all.
        They become slots 0, 1, 2 ..."""

    @property
    def rows(self) -> int:
        """Logits are wanted for the last `rows` tokens."""


def check_feed(feed: Feed, embeddings: int) -> None:
    new = len(feed.tokens)
    if (most := max(feed.tokens, default=0)) >= embeddings:
        raise InputError(f"[HfModel] expected token ids < {embeddings} (embeddings), got {most}")
    counts = {new, len(feed.positions), len(feed.parents)}
    if not 0 <= feed.rows <= new or new == 0 or len(counts) > 1:
        raise InputError(
            f"[HfModel] expected tokens, a position and parent for each and at most as many rows, "
            f"got {new} tokens, {len(feed.positions)} positions, {len(feed.parents)} parents, "
            f"{feed.rows} rows"
        )


def check_parents(feed: Feed, slots: Slots) -> None:
    held = len(slots if feed.keep is None else feed.keep)
    for i, parent in enumerate(feed.parents):
        if not -2 - held < parent < i:
            raise InputError(
                f"[HfModel] expected parents before their children, among {held} slots or this "
                f"feed, got parent {parent} of token {i} (request {feed.request})"
            )
