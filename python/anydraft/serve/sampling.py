"""Requests as sampling parameters."""

from __future__ import annotations

from typing import Any

from anydraft.errors import InputError
from anydraft.sampling import SamplingParams
from anydraft.serve.errors import ApiError
from anydraft.serve.schema import ChatRequest, CompletionRequest, Request

_SAME = (
    "temperature", "top_p", "top_k", "min_p", "presence_penalty", "frequency_penalty",
    "repetition_penalty", "min_tokens", "ignore_eos", "stop_token_ids", "bad_words",
    "allowed_token_ids",
)  # fmt: skip


def sampling_of(asked: Request, max_tokens: int) -> SamplingParams:
    """What a text is drawn by; n texts draw from as many streams of one seed.

    Raises:
        ApiError: 400, values that cannot be.
    """
    given: dict[str, Any] = {
        name: value for name in _SAME if (value := getattr(asked, name)) is not None
    }
    if asked.logit_bias:
        given["logit_bias"] = _bias(asked.logit_bias)
    if asked.stop:
        given["stop"] = asked.stop
    seed = None if asked.seed is None else asked.seed % 2**64
    try:
        return SamplingParams(seed=seed, max_tokens=max_tokens, logprobs=_logprobs(asked), **given)
    except InputError as error:
        raise ApiError(400, str(error), code="invalid_value") from None


def _logprobs(asked: Request) -> int | None:
    if isinstance(asked, CompletionRequest):
        return asked.logprobs
    assert isinstance(asked, ChatRequest)
    if asked.top_logprobs is not None and not asked.logprobs:
        raise ApiError(400, "top_logprobs needs logprobs: true", param="top_logprobs")
    return (asked.top_logprobs or 0) if asked.logprobs else None


def _bias(bias: dict[str, float]) -> dict[int, float]:
    try:
        return {int(token): by for token, by in bias.items()}
    except ValueError:
        raise ApiError(
            400, f"logit_bias: expected token ids as names, got {sorted(bias)[0]!r}",
            param="logit_bias",
        ) from None  # fmt: skip
