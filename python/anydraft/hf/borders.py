"""Rotary angles that depend on the text's length: what a call may mix, and where texts must end.

"longrope" takes other angles for a whole call as soon as one of its tokens stands beyond the length
the model was first trained on, so a draft beyond that border would change the rows before it: such
a call is split there, and texts on different sides share no call. "dynamic" angles change with
every length beyond the border, and with what was decoded before: texts end there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from anydraft.hf.feeds import Feed
from anydraft.hf.slots import Part


def longrope_border(config: Any) -> int | None:
    """The first position with the long angles."""
    borders = [
        rope.get("original_max_position_embeddings")
        or getattr(config, "original_max_position_embeddings", None)
        for rope in _ropes(config)
        if rope.get("rope_type") == "longrope"
    ]
    return min((b for b in borders if b is not None), default=None)


def dynamic_border(config: Any) -> int | None:
    """The first position beyond the length that the model was trained on."""
    if any("dynamic" in str(rope.get("rope_type")) for rope in _ropes(config)):
        limit: int = config.max_position_embeddings
        return limit
    return None


def crosses(feed: Feed, border: int | None) -> bool:
    """Whether a feed has tokens on both sides."""
    if border is None:
        return False
    return min(feed.positions) < border <= max(feed.positions)


def beyond(feed: Feed, border: int | None) -> bool:
    """Whether a feed reaches beyond the border, and so takes all of its pass there."""
    return border is not None and max(feed.positions) >= border


def split(part: Part, border: int) -> Iterator[Part]:
    """Stretches of a part that lie on one side each, to run one after the other.

    A prompt stays whole, as the model's owner feeds it.
    """
    sides = [position >= border for position in part.positions]
    starts = [i for i in range(len(sides)) if i == 0 or sides[i] != sides[i - 1]]
    if len(part.slots) == 0:
        starts = [0]
    held = len(part.slots)
    for start, end in zip(starts, [*starts[1:], len(sides)], strict=True):
        yield replace(
            part,
            tokens=part.tokens[start:end],
            positions=part.positions[start:end],
            parents=_moved(part.parents, start, end, held),
            rows=max(0, min(end, len(sides)) - max(start, len(sides) - part.rows)),
        )


def _moved(parents: Sequence[int], start: int, end: int, held: int) -> list[int]:
    """Parents of the tokens [start, end), where those before `start` lie in slots by now."""
    if start == 0:
        return list(parents[:end])
    moved = []
    for parent in parents[start:end]:
        if parent >= start:
            moved.append(parent - start)
        else:
            slot = held + parent if parent >= 0 else held - 1 if parent == -1 else -2 - parent
            moved.append(-1 if slot == held + start - 1 else -2 - slot)
    return moved


def _ropes(config: Any) -> list[dict[str, Any]]:
    ropes = getattr(config, "rope_parameters", None) or {}
    return [r for r in (ropes, *ropes.values()) if isinstance(r, dict) and "rope_type" in r]
