"""What a request may ask for, by vLLM's names and with their meanings."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from anydraft import _core
from anydraft.errors import InputError

Stop: TypeAlias = str | Sequence[str | int]


class SamplingParams(_core.SamplingParams):
    """How tokens are drawn, and where a text ends.

    Applied to the target's logits in this order: `logit_bias`, the penalties, `bad_words`,
    `min_tokens`, `allowed_token_ids`; then temperature, top-k, top-p, min-p, each on the
    renormalised row. Ties at a boundary are kept. Immutable.

    Args:
        temperature: 0 is greedy, ties to the lowest id; else at least 1e-4.
        top_k, top_p, min_p: off at 0, 1 and 0.
        seed: the same seed gives the same text on any run and in any batch. None: drawn.
        max_tokens: of the new text, at least 0.
        min_tokens: before so many, no token that ends the text is drawn.
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
        stop: Stop = (),
        stop_token_ids: Sequence[int] = (),
        ignore_eos: bool = False,
        logprobs: int | None = None,
        repetition_penalty: float = 1.0,
        presence_penalty: float = 0.0,
        frequency_penalty: float = 0.0,
        logit_bias: Mapping[int, float] | None = None,
        bad_words: Sequence[str | Sequence[int]] = (),
        allowed_token_ids: Sequence[int] | None = None,
    ) -> None:
        super().__init__(temperature, top_k, top_p, min_p, seed)
        for name, value, least in (
            ("max_tokens", max_tokens, 0),
            ("min_tokens", min_tokens, 0),
            ("n", n, 1),
            ("logprobs", 0 if logprobs is None else logprobs, 0),
        ):
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise InputError(f"[SamplingParams] expected {name} >= {least}, got {value!r}")
        if isinstance(bad_words, str):
            raise InputError(f"[SamplingParams] expected a list of bad_words, got {bad_words!r}")
        self.max_tokens = min(max_tokens, 2**31 - 1)
        self.min_tokens = min(min_tokens, 2**31 - 1)
        self.n = n
        self.stop = stop
        self.stop_token_ids = tuple(stop_token_ids)
        self.ignore_eos = ignore_eos
        self.logprobs = logprobs
        self.repetition_penalty = repetition_penalty
        self.presence_penalty = presence_penalty
        self.frequency_penalty = frequency_penalty
        self.logit_bias = dict(logit_bias or {})
        self.bad_words = tuple(bad_words)
        self.allowed_token_ids = None if allowed_token_ids is None else tuple(allowed_token_ids)

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
        """What it does to the target's logits before temperature and filters."""
        words: list[list[int]] = []
        for word in self.bad_words:
            if not isinstance(word, str):
                words.append([int(token) for token in word])
                continue
            # As a word of its own and behind a space, as vLLM reads them.
            spelt = {tuple(vocabulary.encode(text)) for text in (word, f" {word.lstrip(' ')}")}
            words += [list(ids) for ids in sorted(spelt) if ids]
        allowed = None if self.allowed_token_ids is None else list(self.allowed_token_ids)
        return _core.LogitChanges(
            logit_bias=list(self.logit_bias.items()),
            repetition_penalty=self.repetition_penalty,
            frequency_penalty=self.frequency_penalty,
            presence_penalty=self.presence_penalty,
            bad_words=words,
            min_tokens=self.min_tokens,
            allowed=allowed,
        )


def _rebuild(fields: dict[str, Any]) -> SamplingParams:
    return SamplingParams(**fields)
