"""Our own options of a request, as clients send them: nobody has checked them, and there is no hook
to refuse them by. An error in a step ends vLLM's engine for everybody, so none is raised here."""

from __future__ import annotations

import math
import reprlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

MIN_P, LOGIT_BIAS = "anydraft_min_p", "anydraft_logit_bias"
_LARGEST = 3.4e38  # of a float32, as the rows are
_MOST_MIN_P = math.nextafter(1, 0)  # vLLM takes 1, our engine what is below: the same to a float32
_TOLD = 3  # most mistakes that are spelt out: a client may send thousands


@dataclass
class Extras:
    """What holds of a request's options.

    Attributes:
        min_p: in [0, 1].
        logit_bias: id -> finite bias; of ids that the rows have.
        wrong: what was left out, and why.
    """

    min_p: float = 0.0
    logit_bias: dict[int, float] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)

    @property
    def told(self) -> str:
        """What was left out, in one line."""
        more = len(self.wrong) - _TOLD
        return "; ".join([*self.wrong[:_TOLD], *([f"and {more} more"] if more > 0 else [])])


def read_extras(params: Any, vocab_size: int) -> Extras:
    """Of vLLM's `SamplingParams`: its own min_p and logit_bias, unless `extra_args` has others."""
    given = params.extra_args if isinstance(params.extra_args, Mapping) else {}
    extras = Extras(float(params.min_p or 0.0))
    if MIN_P in given:
        _read_min_p(given[MIN_P], extras)
    bias = given.get(LOGIT_BIAS, params.logit_bias)
    for pair in () if bias is None else _pairs(bias, extras):
        _read_bias(*pair, vocab_size, extras)
    for name in given:
        if str(name).lower().startswith("anydraft") and name not in (MIN_P, LOGIT_BIAS):
            known = f"expected {MIN_P} or {LOGIT_BIAS}"
            extras.wrong.append(f"{reprlib.repr(name)}: no such option, {known}")
    return extras


def _read_min_p(given: Any, extras: Extras) -> None:
    number = _number(given)
    if number is None or not 0 <= number <= 1:
        extras.wrong.append(f"{MIN_P}: expected a number in [0, 1], got {reprlib.repr(given)}")
    else:
        extras.min_p = min(number, _MOST_MIN_P)


def _pairs(given: Any, extras: Extras) -> Iterable[tuple[Any, Any]]:
    if isinstance(given, Mapping):
        return given.items()
    if isinstance(given, Sequence) and not isinstance(given, str | bytes) and len(given) % 2 == 0:
        return zip(given[::2], given[1::2], strict=True)
    expected = "expected {id: bias} or [id, bias, ...]"
    extras.wrong.append(f"{LOGIT_BIAS}: {expected}, got {reprlib.repr(given)}")
    return ()


def _read_bias(token: Any, by: Any, vocab_size: int, extras: Extras) -> None:
    id, bias = _number(token), _number(by)
    if id is None or id != int(id) or not 0 <= id < vocab_size:
        expected = f"expected ids in [0, {vocab_size})"
        extras.wrong.append(f"{LOGIT_BIAS}: {expected}, got {reprlib.repr(token)}")
    elif bias is None:
        expected = f"expected a finite number for id {int(id)}"
        extras.wrong.append(f"{LOGIT_BIAS}: {expected}, got {reprlib.repr(by)}")
    else:
        extras.logit_bias[int(id)] = bias


def _number(given: Any) -> float | None:
    """A number that a float32 holds; as text too, for keys of JSON are text."""
    if isinstance(given, bool) or not isinstance(given, int | float | str):
        return None
    try:
        number = float(given)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) and abs(number) <= _LARGEST else None
