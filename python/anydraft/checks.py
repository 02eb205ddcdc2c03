"""Whether values that a caller gives are what is expected: numbers and token ids."""

from __future__ import annotations

import math
import operator
import reprlib
from collections.abc import Iterable
from typing import Any

from anydraft.errors import InputError

MOST = 2**31 - 1  # what the engine counts to
UINT32 = 2**32 - 1  # what keys of random numbers hold


def whole_number(value: Any, where: str, name: str, least: int = 0, most: int | None = None) -> int:
    """An int in [least, most]; numpy's too, but no bool.

    Raises:
        InputError: anything else.
    """
    try:
        number = least - 1 if isinstance(value, bool) else operator.index(value)
    except TypeError:
        number = least - 1
    if number < least:
        raise InputError(f"[{where}] expected {name} >= {least}, got {value!r}")
    if most is not None and number > most:
        raise InputError(f"[{where}] expected {name} <= {most}, got {value!r}")
    return number


def whole_numbers(values: Any, where: str, name: str, most: int) -> list[int]:
    """A list of ints in [0, most]."""
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise InputError(f"[{where}] expected a list of {name}, got {values!r}")
    return [whole_number(value, where, name, 0, most) for value in values]


def number(value: Any, where: str, name: str) -> float:
    """A float, no NaN.

    Raises:
        InputError: anything else.
    """
    try:
        read = math.nan if isinstance(value, str | bool) else float(value)
    except (TypeError, ValueError):
        read = math.nan
    if math.isnan(read):
        raise InputError(f"[{where}] expected a number as {name}, got {value!r}")
    return read


def string(value: Any, where: str, name: str) -> str:
    """A str.

    Raises:
        InputError: anything else.
    """
    if not isinstance(value, str):
        raise InputError(f"[{where}] expected text as {name}, got {value!r}")
    return value


def token_ids(values: Any, where: str, name: str) -> tuple[int, ...]:
    """Ids in [0, 2^31), out of anything that can be iterated over.

    Raises:
        InputError: anything else.
    """
    array = getattr(getattr(values, "dtype", None), "kind", "") == "i" and values.size > 0
    if array and values.ndim == 1 and values.min() >= 0 and values.max() <= MOST:
        return tuple(values.tolist())  # a long context is checked at once
    try:
        ids = tuple(-1 if isinstance(i, bool) else operator.index(i) for i in values)
    except TypeError:
        ids = (-1,)
    if ids and not (min(ids) >= 0 and max(ids) <= MOST):
        raise InputError(f"[{where}] expected token ids as {name}, got {reprlib.repr(values)}")
    return ids


def row_costs_of(model: Any) -> list[float] | None:
    """What calls of a model on 0, 1, 2, … rows cost; None: it does not say.

    Raises:
        InputError: costs that cannot be.
    """
    costs = getattr(model, "row_costs", None)
    return None if costs is None else row_costs(costs, "Session")


def row_costs(costs: Any, where: str) -> list[float]:
    """Costs of calls on 0, 1, 2, … rows: finite, and above 0 from one row on.

    Raises:
        InputError: anything else.
    """
    if isinstance(costs, str) or not isinstance(costs, Iterable):
        raise InputError(f"[{where}] expected a list of numbers as row_costs, got {costs!r}")
    read = [number(cost, where, "row_costs") for cost in costs]
    if len(read) < 2:
        raise InputError(f"[{where}] expected row_costs of at least 0 and 1 rows, got {len(read)}")
    wrong = [cost for i, cost in enumerate(read) if not 0 <= cost < math.inf or (i and not cost)]
    if wrong:
        raise InputError(f"[{where}] expected row_costs above 0 and finite, got {wrong[0]}")
    return read
