"""What a model's generation_config forbids."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import torch

# Those that change the text's distribution and that neither this nor SamplingParams knows.
_NOT_APPLIED = {
    "no_repeat_ngram_size": 0,
    "encoder_no_repeat_ngram_size": 0,
    "encoder_repetition_penalty": 1.0,
    "min_length": 0,
    "min_new_tokens": None,
    "forced_eos_token_id": None,
    "exponential_decay_length_penalty": None,
    "sequence_bias": None,
    "guidance_scale": None,
    "watermarking_config": None,
}


@dataclass(frozen=True)
class Forbidden:
    """Ids that no text has, and ids that it does not begin with."""

    always: list[int]
    first: list[int]

    def apply(self, rows: torch.Tensor, first: int | None) -> torch.Tensor:
        """rows [rows, vocab] with what is forbidden at -inf; first: the row of a text's first
        token, if it is there."""
        if self.always:
            rows[:, self.always] = -torch.inf
        if self.first and first is not None:
            rows[first, self.first] = -torch.inf
        return rows


def forbidden(model: Any) -> Forbidden:
    """What the generation_config forbids; warns of what it asks for beyond that."""
    config = getattr(model, "generation_config", None)
    words: list[Any] = getattr(config, "bad_words_ids", None) or []
    always = {word[0] for word in words if len(word) == 1}
    always |= set(getattr(config, "suppress_tokens", None) or [])
    left = [
        f"{n}={v!r}"
        for n, d in _NOT_APPLIED.items()
        if (v := getattr(config, n, d)) not in (d, None)
    ]
    if any(len(word) > 1 for word in words):
        left.append("bad_words_ids of several tokens")
    if left:
        warnings.warn(
            f"[hf.load] the model's generation_config has {', '.join(left)}, which is not applied: "
            "the text has the distribution of the model without it",
            RuntimeWarning,
            stacklevel=4,
        )
    penalty = getattr(config, "repetition_penalty", None) or 1.0
    if penalty != 1.0:
        warnings.warn(
            f"[hf.load] the model's generation_config asks for repetition_penalty={penalty}, which "
            f"sessions take from the caller: give SamplingParams(repetition_penalty={penalty}), "
            "else the text has the distribution of the model without it",
            RuntimeWarning,
            stacklevel=4,
        )
    first = sorted(set(getattr(config, "begin_suppress_tokens", None) or []))
    return Forbidden(sorted(always), first)


def eos_tokens(model: Any) -> list[int]:
    """Ids that end a text by the model's generation_config."""
    eos = getattr(getattr(model, "generation_config", None), "eos_token_id", None)
    return [eos] if isinstance(eos, int) else list(eos or ())
