"""What a user says of the drafter: `additional_config={"anydraft": {...}}` of vLLM."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal

from anydraft.bridges import CERTAIN, NAMES
from anydraft.checks import number
from anydraft.errors import InputError

VERIFIERS = ("block", "traversal", "top_down")
_OF_MODELS = ("bridge", "draft_confidence", "verifier", "backend", "device", "weights")


@dataclass(frozen=True)
class Options:
    """Options of the plug-in.

    Attributes:
        drafter: a model's folder, GGUF file or name; "lookup"; "text:package.module:function", a
            function from the text so far to what may follow it, as of `anydraft.Text`.
        bridge: as `SpeculativeSession`'s. "auto": "same" where the vocabularies are equal, else
            "tli" with one of our workers and "slem" without.
        draft_length: drafter tokens of a round; None: num_speculative_tokens, and one more for
            slem, which holds back the token that a text ends in.
        draft_confidence: as `SpeculativeSession`'s at a fixed draft length: "auto" is 0.3; of a
            model alone.
        verifier: of drafts that are drawn, which a model's alone can be: block, traversal or
            top_down.
        backend, device, weights: of the drafter, as `load_model` and `native.load` take them.
        cache_tokens: most tokens of text, of all requests together, that the drafter keeps caches
            of. Requests beyond it are served without drafts.
        greedy_only: all requests are greedy: vLLM's own sampler may then be one that is not exact
            (its CPU build 0.32.0). One that draws after all is judged rightly, with an error in
            the log.
    """

    drafter: str
    bridge: str = "auto"
    draft_length: int | None = None
    draft_confidence: float | Literal["auto"] = "auto"
    verifier: str = "block"
    backend: str = "auto"
    device: str = "auto"
    weights: str | None = None
    cache_tokens: int = 65536
    greedy_only: bool = False

    @classmethod
    def read(cls, given: Any) -> Options:
        """From what vLLM passes on.

        Raises:
            InputError: options that are unknown, of the wrong kind, or exclude each other.
        """
        if not isinstance(given, Mapping) or "drafter" not in given:
            _fail('additional_config={"anydraft": {"drafter": MODEL, ...}}', given)
        known = {field.name for field in fields(cls)}
        if unknown := sorted(set(given) - known):
            _fail(f"options out of {', '.join(sorted(known))}", ", ".join(unknown))
        return cls(**given)

    def __post_init__(self) -> None:
        self._check_kinds()
        self._check_together()

    @property
    def has_model(self) -> bool:
        return self.drafter != "lookup" and self.text_function is None

    @property
    def text_function(self) -> str | None:
        """The function's name."""
        return self.drafter.removeprefix("text:") if self.drafter.startswith("text:") else None

    def length_for(self, bridge: str, num_speculative_tokens: int) -> int:
        """Drafter tokens of a round."""
        if self.draft_length is not None:
            return self.draft_length
        return num_speculative_tokens + (bridge == "slem")

    def _check_kinds(self) -> None:
        if not isinstance(self.drafter, str) or not self.drafter:
            _fail('a model, "lookup" or "text:..." as drafter', self.drafter)
        if self.bridge not in NAMES:
            _fail(f"bridge out of {', '.join(NAMES)}", self.bridge)
        if self.verifier not in VERIFIERS:
            _fail(f"verifier out of {', '.join(VERIFIERS)}", self.verifier)
        if self.draft_length is not None and not _whole(self.draft_length, 1):
            _fail("draft_length >= 1", self.draft_length)
        if not _whole(self.cache_tokens, 1):
            _fail("cache_tokens >= 1", self.cache_tokens)
        if not isinstance(self.greedy_only, bool):
            _fail("greedy_only true or false", self.greedy_only)
        if self.draft_confidence == "auto":
            return
        if not 0 <= number(self.draft_confidence, "anydraft.vllm", "draft_confidence") <= 1:
            _fail('draft_confidence in [0, 1] or "auto"', self.draft_confidence)

    def _check_together(self) -> None:
        if self.has_model:
            if self.bridge in CERTAIN and self.verifier != Options.verifier:
                _fail(
                    f"no verifier with bridge {self.bridge!r}, whose drafts are certain",
                    self.verifier,
                )
            return
        changed = [
            field.name
            for field in fields(self)
            if field.name in _OF_MODELS and getattr(self, field.name) != field.default
        ]
        if changed:
            _fail(f"no options of a model with drafter {self.drafter!r}", ", ".join(changed))


def _whole(value: Any, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _fail(expected: str, got: Any) -> None:
    raise InputError(f"[anydraft.vllm] expected {expected}, got {got!r}")
