"""What a request may ask for, by vLLM's names and with their meanings."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from anydraft import _core, stops
from anydraft.checks import MOST, number, token_ids, whole_number
from anydraft.errors import InputError
from anydraft.stops import Stop


class SamplingParams(_core.SamplingParams):
    """How tokens are drawn, and where a text ends.

    Applied to the target's logits in this order: `logit_bias`, the penalties, `bad_words`,
    `min_tokens`, `allowed_token_ids`; then temperature, top-k, top-p, min-p, each on the
    renormalised row. Ties at a boundary are kept. Immutable.

    Args:
        temperature: 0 is greedy, ties to the lowest id; else at least 1e-4.
        top_k, top_p, min_p: off at 0 (or -1), 1 and 0.
        seed: the same seed gives the same text on any run and in any batch. None: drawn.
        max_tokens: of the new text, at least 0.
        min_tokens: before so many, no token that ends the text is drawn, and no stop string is
            looked for.
        n: texts for each prompt; each draws its own random numbers.
        stop: strings before which a text ends, and ids with which it ends.
        stop_token_ids: ids with which a text ends, beside the model's own.
        ignore_eos: the model's own ends are tokens like any other.
        logprobs: log-probabilities of the emitted tokens under the distribution they were drawn
            from, and of so many likeliest ones. Greedy: those at temperature 1.
        repetition_penalty: > 0; logits of tokens in prompt or text are divided by it where
            positive, else multiplied (Keskar et al. 2019).
        presence_penalty, frequency_penalty: taken off a logit once, and for every time, that its
            token stands in the text.
        logit_bias: added to the logits of these ids.
        bad_words: strings, or sequences of ids, that do not come about.
        allowed_token_ids: all others are ruled out.

    Raises:
        InputError: a value out of its range.

    >>> SamplingParams(temperature=0.7, top_p=0.9, max_tokens=20).max_tokens
    20
    """

    def __init__(
        self,
        temperature: float = 1.0,
        top_k: int = 0,
        top_p: float = 1.0,
        min_p: float = 0.0,
        seed: int | None = None,
        *,
        max_tokens: int = 256,
        min_tokens: int = 0,
        n: int = 1,
        stop: Stop | None = (),
        stop_token_ids: Sequence[int] | None = (),
        ignore_eos: bool = False,
        logprobs: int | None = None,
        repetition_penalty: float = 1.0,
        presence_penalty: float = 0.0,
        frequency_penalty: float = 0.0,
        logit_bias: Mapping[int, float] | None = None,
        bad_words: Sequence[str | Sequence[int]] | None = (),
        allowed_token_ids: Sequence[int] | None = None,
    ) -> None:
        super().__init__(
            _number(temperature, "temperature"),
            _whole(0 if top_k == -1 else top_k, "top_k", 0, MOST),
            _number(top_p, "top_p"),
            _number(min_p, "min_p"),
            None if seed is None else _seed(seed),
        )
        if not isinstance(ignore_eos, bool):
            raise InputError(
                f"[SamplingParams] expected ignore_eos True or False, got {ignore_eos!r}"
            )
        allowed = (
            None if allowed_token_ids is None else _ids(allowed_token_ids, "allowed_token_ids")
        )
        self.__dict__.update(
            max_tokens=min(_whole(max_tokens, "max_tokens"), MOST),
            min_tokens=min(_whole(min_tokens, "min_tokens"), MOST),
            n=_whole(n, "n", 1),
            stop=stops.given(stop),
            stop_token_ids=_ids(() if stop_token_ids is None else stop_token_ids, "stop_token_ids"),
            ignore_eos=ignore_eos,
            logprobs=None if logprobs is None else _whole(logprobs, "logprobs", 0, MOST),
            repetition_penalty=_number(repetition_penalty, "repetition_penalty"),
            presence_penalty=_number(presence_penalty, "presence_penalty"),
            frequency_penalty=_number(frequency_penalty, "frequency_penalty"),
            logit_bias=_bias(logit_bias or {}),
            bad_words=_words(bad_words),
            allowed_token_ids=allowed,
        )
        self._changes([word for word in self.bad_words if not isinstance(word, str)])  # in range?

    max_tokens: int
    min_tokens: int
    n: int
    stop: tuple[str | int, ...]
    stop_token_ids: tuple[int, ...]
    ignore_eos: bool
    logprobs: int | None
    repetition_penalty: float
    presence_penalty: float
    frequency_penalty: float
    logit_bias: dict[int, float]
    bad_words: tuple[str | tuple[int, ...], ...]
    allowed_token_ids: tuple[int, ...] | None

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"[SamplingParams] expected replace({name}=...): they are immutable")

    def _fields(self) -> dict[str, Any]:
        names = ("temperature", "top_k", "top_p", "min_p", "seed")
        return {name: getattr(self, name) for name in names} | self.__dict__

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, SamplingParams):
            return NotImplemented
        return self._fields() == other._fields()

    def __hash__(self) -> int:
        return hash((self.temperature, self.top_k, self.top_p, self.min_p, self.seed))

    def __repr__(self) -> str:
        default = SamplingParams()._fields()
        told = (f"{k}={v!r}" for k, v in self._fields().items() if v != default[k])
        return f"SamplingParams({', '.join(told)})"

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (self._fields(),)

    def replace(self, **changes: Any) -> SamplingParams:
        """The same with some fields changed."""
        return SamplingParams(**(self._fields() | changes))

    def with_seed(self) -> SamplingParams:
        """Itself, or with a seed drawn where it has none."""
        return self if self.seed is not None else self.replace(seed=secrets.randbits(63))

    def changes(self, vocabulary: Any) -> _core.LogitChanges:
        """What it does to the target's logits before temperature and filters.

        Raises:
            InputError: a bad word that the vocabulary cannot spell.
        """
        words = list[tuple[int, ...]]()
        for word in self.bad_words:
            words += _spelt(word, vocabulary) if isinstance(word, str) else [word]
        return self._changes(words)

    def _changes(self, bad_words: Sequence[Sequence[int]]) -> _core.LogitChanges:
        return _core.LogitChanges(
            logit_bias=list(self.logit_bias.items()),
            repetition_penalty=self.repetition_penalty,
            frequency_penalty=self.frequency_penalty,
            presence_penalty=self.presence_penalty,
            bad_words=bad_words,
            min_tokens=self.min_tokens,
            allowed=self.allowed_token_ids,
        )

    def check_rows(self, where: str) -> None:
        """Raises:
        InputError: options that change logits by the text, which rows alone do not tell.
        """
        set_ones = [name for name, off in _BY_TEXT.items() if getattr(self, name) != off]
        if set_ones:
            raise InputError(
                f"[{where}] expected logits that are changed already, or a session, got "
                f"{', '.join(set_ones)} in the sampling parameters"
            )


_BY_TEXT: dict[str, Any] = {
    "min_tokens": 0,
    "repetition_penalty": 1.0,
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
    "logit_bias": {},
    "bad_words": (),
    "allowed_token_ids": None,
}


def _whole(value: Any, name: str, least: int = 0, most: int | None = None) -> int:
    return whole_number(value, "SamplingParams", name, least, most)


def _number(value: Any, name: str) -> float:
    return number(value, "SamplingParams", name)


def _ids(values: Any, name: str) -> tuple[int, ...]:
    return token_ids(values, "SamplingParams", name)


def _seed(value: Any) -> int:
    try:
        seed = _whole(value, "seed", 0, 2**64 - 1)
    except InputError:
        raise InputError(f"[SamplingParams] expected 0 <= seed < 2^64, got {value!r}") from None
    return seed


def _bias(bias: Any) -> dict[int, float]:
    if not isinstance(bias, Mapping):
        raise InputError(f"[SamplingParams] expected {{token id: bias}}, got {bias!r}")
    ids = _ids(list(bias), "logit_bias")
    return {i: _number(by, "logit_bias") for i, by in zip(ids, bias.values(), strict=True)}


def _words(words: Any) -> tuple[str | tuple[int, ...], ...]:
    words = () if words is None else words
    if isinstance(words, str) or not hasattr(words, "__iter__"):
        raise InputError(f"[SamplingParams] expected a list of bad_words, got {words!r}")
    read = tuple(word if isinstance(word, str) else _ids(word, "bad_words") for word in words)
    if not all(read):
        raise InputError(f"[SamplingParams] expected bad_words that are not empty, got {words!r}")
    return read


def _spelt(word: str, vocabulary: Any) -> list[tuple[int, ...]]:
    """A bad word's ids: as it begins a text, and behind a space, as vLLM reads them."""
    spelt = {tuple(vocabulary.encode(text)) for text in (word, f" {word.lstrip(' ')}")}
    whole = word.lstrip(" ").encode()  # what an encoder cannot spell it may leave out
    ids = sorted(one for one in spelt if one and vocabulary.decode(one).lstrip(b" ") == whole)
    if not ids:
        raise InputError(f"[generate] expected bad_words the target can spell, got {word!r}")
    return ids


def _rebuild(fields: dict[str, Any]) -> SamplingParams:
    return SamplingParams(**fields)


def check_sampling(params: Any, where: str, name: str = "sampling") -> None:
    """Raises:
    InputError: what is neither `SamplingParams` nor None.
    """
    if params is not None and not isinstance(params, SamplingParams):
        raise InputError(f"[{where}] expected SamplingParams as {name}, got {params!r}")


def check_draft(params: Any, where: str) -> None:
    """Raises:
    InputError: what is neither None nor parameters that a drafter can have.
    """
    check_sampling(params, where, "draft_sampling")
    if params is None:
        return
    own = ("temperature", "top_k", "top_p", "min_p")
    plain = SamplingParams(**{name: getattr(params, name) for name in own})._fields()
    others = [name for name, value in params._fields().items() if value != plain[name]]
    if others:
        raise InputError(
            f"[{where}] expected temperature, top_k, top_p and min_p alone in draft_sampling, "
            f"got {', '.join(others)} too"
        )


def each_params(
    params: Any, where: str, count: int = 1, *, of_rows: bool = False
) -> list[SamplingParams]:
    """A list with one for each, or one for all `count`.

    of_rows: options that change logits by the text are refused.

    Raises:
        InputError: what is no `SamplingParams`.
    """
    several = isinstance(params, Iterable)
    each = list(params) if several else [params]
    for one in each:
        if not isinstance(one, SamplingParams):
            raise InputError(f"[{where}] expected SamplingParams as sampling, got {one!r}")
        if of_rows:
            one.check_rows(where)
    return each if several else each * count
