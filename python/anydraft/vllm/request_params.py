"""What vLLM's sampling parameters of a request are for the drafter and for the verification."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass
from typing import Any

from anydraft.checks import MOST
from anydraft.sampling import SamplingParams
from anydraft.vllm.request_extras import read_extras

_log = logging.getLogger("anydraft")
_GREEDY = 1e-5  # below it a temperature is 0 for vLLM
_HOTTEST = 1e30  # where vLLM lets an infinite one through: all tokens are as likely there


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


def read_params(params: Any, seed: int, name: str, vocab_size: int) -> RequestParams:
    """From vLLM's `SamplingParams`.

    vLLM refuses min_p and logit_bias beside speculation. So they may also come in `extra_args`, as
    "anydraft_min_p" and "anydraft_logit_bias" ({id: bias}, or [id, bias, id, bias, ...]). What is
    wrong in them is left out with a warning.

    Args:
        seed: of a request that has none of its own.
        name: of the request, for the warning.
        vocab_size: columns of the target's rows.
    """
    extras = read_extras(params, vocab_size)
    if extras.wrong:
        _log.warning("request %r goes on without what is wrong in it: %s", name, extras.told)
    greedy = params.temperature < _GREEDY
    own = seed if params.seed is None else params.seed % 2**64
    temperature = 0.0 if greedy else min(max(1e-4, params.temperature), _HOTTEST)
    top_k = min(max(0, params.top_k or 0), MOST)
    target = SamplingParams(temperature, top_k, params.top_p, seed=own)
    drafter = SamplingParams(temperature, top_k, params.top_p, extras.min_p, seed=own)
    if params.structured_outputs is not None:
        # A grammar cuts drafts where their tokens do not fit. That is lossless for certain drafts.
        drafter = SamplingParams(temperature=0, seed=own)
    min_p = 0.0 if greedy else extras.min_p
    return RequestParams(target, drafter, min_p, extras.logit_bias, params.max_tokens)


def seed_of(engine_seed: int, rank: int, number: int) -> int:
    """The seed of a request without one: of the engine's, its data parallel rank, and how many
    requests came before."""
    text = f"anydraft/{engine_seed}/{rank}/{number}".encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little")
