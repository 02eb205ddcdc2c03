"""What is measured: plain and speculative decoding by anydraft and by transformers.

Every method works on the same packed models and returns new token ids, seconds, and the seconds
that were spent in forward passes of the models, measured by the same hooks for all of them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

import torch

from anydraft import SamplingParams, SpeculativeSession

GREEDY = SamplingParams(temperature=0)


@dataclass
class Measured:
    """One method on one prompt."""

    tokens: list[int]
    seconds: float
    forward_seconds: float
    calls: list[int]  # forward passes of the target and of the drafter
    stats: dict[str, Any] = field(default_factory=dict)

    @property
    def outside(self) -> float:
        """Share of the time outside the models' forward passes."""
        return 1 - self.forward_seconds / self.seconds


@dataclass
class Method:
    """A named way to decode: `decode(prompt ids, number of tokens) -> (new ids, counts)`."""

    name: str
    decode: Callable[[list[int], int], tuple[list[int], dict[str, Any]]]
    models: list[Any]  # modules whose forward passes are timed

    def measure(self, prompt: list[int], new_tokens: int) -> Measured:
        """Decode once."""
        with forward_clock(self.models) as clock:
            started = time.perf_counter()
            tokens, stats = self.decode(prompt, new_tokens)
            seconds = time.perf_counter() - started
        return Measured(tokens, seconds, clock.seconds, clock.calls, stats)


class ForwardClock:
    """Counts the models' forward passes and adds up their seconds."""

    def __init__(self, models: list[Any]) -> None:
        self.models = models
        self.seconds = 0.0
        self.calls = [0] * len(models)
        self._started = 0.0

    def start(self, model: Any, _: Any) -> None:
        self.calls[self.models.index(model)] += 1
        self._started = time.perf_counter()

    def stop(self, *_: Any) -> None:
        self.seconds += time.perf_counter() - self._started


@contextmanager
def forward_clock(models: list[Any]) -> Iterator[ForwardClock]:
    """A clock that runs while any of the models does; they must not call each other."""
    clock = ForwardClock(models)
    hooks = [model.register_forward_pre_hook(clock.start) for model in models]
    hooks += [model.register_forward_hook(clock.stop) for model in models]
    try:
        yield clock
    finally:
        for hook in hooks:
            hook.remove()


def ours(
    name: str,
    target: Any,
    drafter: Any,
    draft_length: int,
    bridge: str = "auto",
    confidence: float = 0.0,
) -> Method:
    """anydraft, greedy; drafter None: plain decoding. confidence 0: a fixed draft length."""
    session = SpeculativeSession(
        target,
        drafter,
        bridge=bridge,  # type: ignore[arg-type]
        draft_length=draft_length,
        draft_confidence=confidence,
        sampling=GREEDY,
    )
    return of_session(name, session)


def of_session(name: str, session: SpeculativeSession) -> Method:
    """anydraft as the session is set up."""

    def decode(prompt: list[int], new_tokens: int) -> tuple[list[int], dict[str, Any]]:
        generation = session.generate(prompt, max_tokens=new_tokens)
        stats = generation.stats
        return generation.tokens, asdict(stats) | {
            "acceptance_rate": stats.acceptance_rate,
            "accepted_per_call": stats.accepted_per_call,
        }

    both = (session.target, session.drafter)
    loaded = [model for model in both if hasattr(model, "model")]
    return Method(name, decode, [model.model for model in loaded])


def theirs(name: str, target: Any, assistant: Any = None, **options: Any) -> Method:
    """transformers' `generate`; assistant: a loaded drafter with another vocabulary."""
    vocabulary = target.vocabulary
    options = {
        "do_sample": False,
        "eos_token_id": [*vocabulary.role("eos"), *vocabulary.role("turn_end")],
        "pad_token_id": vocabulary.role("eos")[0],
    } | options
    if assistant is not None:
        options |= {
            "assistant_model": assistant.model,
            "tokenizer": target.tokenizer,
            "assistant_tokenizer": assistant.tokenizer,
        }

    def decode(prompt: list[int], new_tokens: int) -> tuple[list[int], dict[str, Any]]:
        ids = torch.tensor([prompt])
        if assistant is not None:  # read from there, and some versions change it as they go
            config = assistant.model.generation_config
            config.num_assistant_tokens = 4
            config.num_assistant_tokens_schedule = "constant"
            config.assistant_confidence_threshold = 0.0
        with torch.inference_mode():
            out = target.model.generate(
                ids, attention_mask=torch.ones_like(ids), max_new_tokens=new_tokens, **options
            )
        return out[0, len(prompt) :].tolist(), {}

    drafters = [] if assistant is None else [assistant.model]
    return Method(name, decode, [target.model, *drafters])
