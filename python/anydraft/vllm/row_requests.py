"""Which request stands in which row, where vLLM says neither."""

from __future__ import annotations

from typing import Any


class RowRequests:
    """Names requests by their texts: a text that begins with one seen before is its request.

    A wrong guess costs passes of the drafter, never a token: drafts are certain here.
    """

    def __init__(self, tokens: int) -> None:
        """tokens: of the texts that are remembered, those that stand in rows aside."""
        self._limit = tokens
        self._texts = dict[int, Any]()  # the one seen last at the end
        self._rows: dict[int, int] = {}
        self._next = 0

    def names(self, contexts: dict[int, Any]) -> tuple[dict[int, int], list[int]]:
        """Names of the requests in rows, and those that are given up.

        Args:
            contexts: row -> int32 [tokens].
        """
        named = dict[int, int]()
        for row, context in contexts.items():  # where it stood before
            name = self._rows.get(row)
            if name is not None and self._continues(name, context):
                named[row] = name
        for row, context in contexts.items():
            if row not in named:
                named[row] = self._find(context, set(named.values()))
        for row, name in named.items():
            self._texts.pop(name, None)
            self._texts[name] = contexts[row].copy()
        self._rows = named
        return named, self._give_up(set(named.values()))

    def _give_up(self, taken: set[int]) -> list[int]:
        """Those seen longest ago, until the others' texts are few enough."""
        others = {name: len(text) for name, text in self._texts.items() if name not in taken}
        gone, size = list[int](), sum(others.values())
        for name, length in others.items():
            if size <= self._limit:
                break
            size -= length
            gone.append(name)
            del self._texts[name]
        return gone

    def _find(self, context: Any, taken: set[int]) -> int:
        for name in reversed(tuple(self._texts)):
            if name not in taken and self._continues(name, context):
                return name
        self._next += 1
        return self._next

    def _continues(self, name: int, context: Any) -> bool:
        text = self._texts.get(name)
        if text is None or len(text) > len(context):
            return False
        return bool((context[: len(text)] == text).all())
