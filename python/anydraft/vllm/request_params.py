"""What vLLM's sampling parameters of a request are for the drafter and for the verification."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from anydraft.errors import InputError
from anydraft.sampling import SamplingParams

_GREEDY = 1e-5  # below it a temperature is 0 for vLLM


@dataclass(frozen=True)
class RequestParams:
    """A request's parameters.

    Attributes:
        target: temperature, top-k, top-p and the seed that keys the uniforms. Min-p is applied to
            the rows before, as vLLM has it.
        drafter: the same with min-p; greedy where drafts must be certain.
        min_p, logit_bias: of the target.
        max_tokens: of the text; None: no bound.
    """

    target: SamplingParams
    drafter: SamplingParams
    min_p: float
    logit_bias: dict[int, float]
    max_tokens: int | None


def read_params(params: Any, seed: int) -> RequestParams:
    """From vLLM's `SamplingParams`.

    vLLM refuses min_p and logit_bias beside speculation. So they may also come in `extra_args`, as
    "anydraft_min_p" and "anydraft_logit_bias" ({id: bias}, or [id, bias, id, bias, ...]).

    Args:
        seed: of a request that has none of its own.
    """
    extra = params.extra_args or {}
    min_p = float(extra.get("anydraft_min_p", params.min_p or 0.0))
    greedy = params.temperature < _GREEDY
    own = seed if params.seed is None else params.seed % 2**64
    temperature = 0.0 if greedy else max(1e-4, params.temperature)
    top_k = max(0, params.top_k or 0)
    target = SamplingParams(temperature, top_k, params.top_p, seed=own)
    drafter = SamplingParams(temperature, top_k, params.top_p, min_p, seed=own)
    if params.structured_outputs is not None:
        # A grammar cuts drafts where their tokens do not fit. That is lossless for certain drafts.
        drafter = SamplingParams(temperature=0, seed=own)
    bias = _bias(extra.get("anydraft_logit_bias", params.logit_bias))
    return RequestParams(target, drafter, 0.0 if greedy else min_p, bias, params.max_tokens)


def seed_of(engine_seed: int, rank: int, number: int) -> int:
    """The seed of a request without one: of the engine's, its data parallel rank, and how many
    requests came before."""
    text = f"anydraft/{engine_seed}/{rank}/{number}".encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little")


def _bias(given: Any) -> dict[int, float]:
    if not given:
        return {}
    if isinstance(given, Mapping):
        return {int(token): float(by) for token, by in given.items()}
    if isinstance(given, Sequence) and not isinstance(given, str) and len(given) % 2 == 0:
        return {int(token): float(by) for token, by in zip(given[::2], given[1::2], strict=True)}
    raise InputError(
        "[anydraft.vllm] expected anydraft_logit_bias {id: bias} or [id, bias, ...], got "
        f"{given!r}"
    )
