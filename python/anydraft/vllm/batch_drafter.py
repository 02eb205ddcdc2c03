"""Drafts for all requests of a step together, with bounded caches and errors that end drafting."""

from __future__ import annotations

import logging
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from anydraft.drafter import Draft, Drafter
from anydraft.errors import InputError, VocabularyError
from anydraft.loading import load_model
from anydraft.sampling import SamplingParams
from anydraft.text import Text
from anydraft.verification import VerifyResult
from anydraft.vllm.options import Options
from anydraft.vocabulary import Vocabulary, VocabularyMap

_log = logging.getLogger("anydraft")
CERTAIN = SamplingParams(temperature=0, seed=0)


@dataclass(frozen=True)
class Ask:
    """A request that wants a draft.

    Attributes:
        id: names its cache.
        context: int32 [tokens], prompt and text so far.
        sampling: of the drafter and, but for what only changes logits, of the target.
        remaining: most tokens of the draft.
    """

    id: Hashable
    context: Any
    sampling: SamplingParams
    remaining: int


class BatchDrafter:
    """A `Drafter` in a service: it drafts for whom there is room, and when it fails it is off.

    Attributes:
        bridge: the one in force.
        failed: whether drafting is off.
    """

    def __init__(
        self, options: Options, target: Vocabulary, num_speculative_tokens: int, *, exact: bool
    ) -> None:
        """exact: whether the sampler takes drafts that are drawn; else all drafts are certain.

        Raises:
            InputError, VocabularyError: options that do not fit the pair.
            What the drafter's loader raises.
        """
        model = load_drafter(options)
        draft = model.vocabulary if options.has_model else None
        bridge = choose_bridge(options, target, draft, exact=exact)
        given = {"bridge": bridge} if options.has_model else {}
        self._drafter = Drafter(
            target,
            model,
            draft_length=options.length_for(bridge, num_speculative_tokens),
            draft_confidence=options.draft_confidence,
            verifier="auto",
            **given,
        )
        self.bridge = self._drafter.bridge
        self.failed = False
        self._stop = tuple(target.role("eos"))
        self._size = target.size
        self._limit = options.cache_tokens
        self._held: dict[Hashable, int] = {}  # tokens of text, the request drafted last at the end

    def propose(self, asks: Sequence[Ask]) -> list[Draft | None]:
        """A draft for each; None where there is none: no room, or drafting is off."""
        found = dict[Hashable, Draft]()
        admitted = [] if self.failed else self._admit(asks)
        if admitted:
            try:
                drafts = self._drafter.propose(
                    [ask.id for ask in admitted],
                    [ask.context for ask in admitted],
                    [ask.sampling for ask in admitted],
                    [ask.remaining for ask in admitted],
                    stop=self._stop,
                    dense=False,
                )
                found = {ask.id: draft for ask, draft in zip(admitted, drafts, strict=True)}
            except Exception:
                self._turn_off(admitted)
        return [found.get(ask.id) for ask in asks]

    def verify(
        self,
        ids: Sequence[Hashable],
        lengths: Sequence[int],
        rows: Any,
        sampling: Sequence[SamplingParams],
        *,
        verifier: str,
        positions: Sequence[int],
    ) -> VerifyResult:
        """As `Drafter.verify`. The seeds tell requests apart."""
        zeros = [0] * len(ids)
        return self._drafter.verify(
            ids, lengths, rows, sampling, verifier=verifier, requests=zeros, positions=positions
        )

    def forget(self, id: Hashable) -> None:
        """A request that has ended."""
        if self._held.pop(id, None) is not None:
            self._drafter.forget(id)

    @property
    def held(self) -> Iterable[Hashable]:
        """Requests with a cache."""
        return tuple(self._held)

    def _admit(self, asks: Sequence[Ask]) -> list[Ask]:
        """Those whose texts fit together. Caches of others go, the longest unused first."""
        admitted, used = list[Ask](), 0
        for ask in asks:
            size = len(ask.context)
            if ask.remaining < 1 or used + size > self._limit or ask.context.max() >= self._size:
                continue
            admitted.append(ask)
            used += size
        for ask in admitted:
            self._held.pop(ask.id, None)
        others = sum(self._held.values())
        for id in tuple(self._held):
            if used + others <= self._limit:
                break
            others -= self._held[id]
            self.forget(id)
        self._held.update({ask.id: len(ask.context) for ask in admitted})
        return admitted

    def _turn_off(self, asked: Sequence[Ask]) -> None:
        """After an error of the drafter: the service goes on without it. Drafts of requests that
        were not asked for now are judged yet."""
        _log.warning("the drafter failed; from now on nothing is drafted", exc_info=True)
        self.failed = True
        for ask in asked:
            self.forget(ask.id)


@dataclass(frozen=True)
class _ForgivingText(Text):
    """What its function does wrong, said once, costs one draft: the service goes on."""

    failures: list[Exception] = field(default_factory=list)

    def ids(self, vocabulary: Vocabulary, committed: Sequence[int]) -> list[int]:
        try:
            return super().ids(vocabulary, committed)
        except Exception as error:
            if not self.failures:
                _log.warning("the text's function failed: no draft there", exc_info=True)
                self.failures.append(error)
            return []


def load_drafter(options: Options) -> Any:
    """The model, "lookup", or the text's function."""
    if options.text_function is not None:
        return _ForgivingText.of_name(options.text_function)
    if not options.has_model:
        return "lookup"
    given = {} if options.weights is None else {"weights": options.weights}
    return load_model(
        options.drafter,
        backend=options.backend,  # type: ignore[arg-type]
        device=options.device,
        **given,
    )


def choose_bridge(
    options: Options, target: Vocabulary, drafter: Vocabulary | None, *, exact: bool
) -> str:
    """The bridge that "auto" means.

    Args:
        drafter: None: there is no model.
        exact: whether a worker of ours judges the drafts.

    Raises:
        VocabularyError: vocabularies with nothing in common.
        InputError: a bridge whose drafts vLLM's own sampler cannot judge.
    """
    if drafter is None:
        return "lookup" if options.text_function is None else "text"
    if options.bridge == "slrs" and not exact:
        raise InputError(
            '[anydraft.vllm] expected a worker_cls of anydraft with bridge "slrs", whose drafts '
            "are drawn, got vLLM's own sampler: see `anydraft vllm-config`"
        )
    if drafter == target:
        return "same" if options.bridge == "auto" else options.bridge
    if VocabularyMap(drafter, target).shared == 0:
        raise VocabularyError(
            "[anydraft.vllm] expected vocabularies that share tokens, got none in common: "
            f"{options.drafter!r} cannot draft for this target"
        )
    if options.bridge == "auto":
        return "tli" if exact else "slem"
    return options.bridge
