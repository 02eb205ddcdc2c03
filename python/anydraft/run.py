"""One request on its way: events while it is decoded, and what it came to."""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from anydraft import _core
from anydraft._core import Feed, SamplingParams
from anydraft.batch import advance
from anydraft.penalties import LogitsProcessor, process
from anydraft.stops import StopStrings

if TYPE_CHECKING:
    from anydraft.session import SpeculativeSession

Origin: TypeAlias = Literal["accepted", "recovered", "bonus"]


@dataclass(frozen=True)
class Event:
    """One token as it is decided.

    Attributes:
        text: what can be shown now; an unfinished character is held back for a later event.
        tokens: the token's id.
        origin: accepted (drafted), recovered (after a rejection), bonus (after the last draft).
    """

    text: str
    tokens: tuple[int, ...]
    origin: Origin


@dataclass
class GenerationStats:
    """What a request cost.

    Of the `tokens` of the text `accepted` had been proposed; `drafted` counts all proposals.
    Seconds are wall time; `draft_seconds` and `target_seconds` are spent in the models' calls, the
    rest of `seconds` is ours. Of requests decoded together each counts what all of them waited for
    while it was going. `bridges` (bridge "auto"): of each one its `rounds`, the `acceptance` that
    the first token of its drafts would have had on the text, and its `worth`, tokens of a round per
    cost of it in plain target calls. `stopped` (a stop rule other than 1): mean share of the
    drafted distributions that the rule is known to have stopped; the rest stopped where the budget
    ended.
    Much below 1: a larger `draft_budget`, or another bridge, may serve better."""

    tokens: int = 0
    target_calls: int = 0
    draft_calls: int = 0
    drafted: int = 0
    accepted: int = 0
    seconds: float = 0.0
    draft_seconds: float = 0.0
    target_seconds: float = 0.0
    bridge: str = ""
    stopped: float = 1.0
    bridges: dict[str, dict[str, float]] = field(default_factory=dict)

    @property
    def acceptance_rate(self) -> float:
        """Share of the proposed tokens that are in the text."""
        return self.accepted / self.drafted if self.drafted else 0.0

    @property
    def accepted_per_call(self) -> float:
        return self.accepted / self.target_calls if self.target_calls else 0.0

    @property
    def tokens_per_second(self) -> float:
        return self.tokens / self.seconds if self.seconds else 0.0

    @property
    def overhead(self) -> float:
        """Share of the time that no model's call took."""
        busy = self.draft_seconds + self.target_seconds
        return 1 - busy / self.seconds if self.seconds else 0.0


@dataclass(frozen=True)
class Generation:
    """A finished (or interrupted) request.

    Attributes:
        text: the new text, up to a stop string; specials have none. Of a text that is not at its
            end, or cancelled, what events have shown: no unfinished character, nothing that may
            begin a stop string.
        tokens: the new ids, those that made a final EOS or stop string included.
        finish_reason: stop, length, context, cancelled; None while unfinished.
        stats: counts and seconds.
    """

    text: str
    tokens: list[int]
    finish_reason: str | None
    stats: GenerationStats


class Run(Iterator[Event]):
    """A request being decoded: iterate for events. Where a model's call raises, the exception comes
    through, `generation` still has all that was emitted, and iterating again goes on from there.

    Attributes:
        prompt: the target ids it started from.
        error: what ended it before its time, among several decoded together.
    """

    def __init__(
        self,
        session: SpeculativeSession,
        prompt: list[int],
        sampling: SamplingParams,
        logits_processor: LogitsProcessor | None,
        stop_strings: Sequence[str],
        **request: Any,
    ) -> None:
        self.prompt = prompt
        self.error: Exception | None = None
        self._session = session
        self._processor = logits_processor
        self._core = session._new_core()
        self._id = self._core.add(
            prompt, sampling=sampling, draft_sampling=session.draft_sampling, **request
        )
        # Models key their caches by the id: theirs goes when the request ends or is given up.
        models = ((session.target, self._id), (session.drafter, self._id + 1))
        self._forget = weakref.finalize(self, _forget, models)
        self._tokens: list[int] = []
        self._events: list[Event] = []
        self._stops = StopStrings(stop_strings)
        self._held = b""
        self._text: list[str] = []
        self._stats = GenerationStats(bridge=session.bridge)

    def __next__(self) -> Event:
        self._collect()  # what an interrupt between the core and here left behind
        while not self._events and not self.ended:
            self.error = None
            advance([self])
            if self.error is not None:
                raise self.error
        if self._events:
            return self._events.pop(0)
        raise StopIteration

    def cancel(self) -> None:
        """End the request; what was emitted stays."""
        self._core.cancel(self._id)
        self._collect()

    @property
    def ended(self) -> bool:
        """Whether nothing more will be emitted."""
        return self._finish_reason is not None

    @property
    def _finish_reason(self) -> str | None:
        reason: str | None = self._core.finish(self._id)
        return None if reason == "error" else reason  # iterating goes on behind one

    @property
    def generation(self) -> Generation:
        """What there is so far."""
        self._collect()
        names = ("target_calls", "draft_calls", "drafted", "bridges")
        core = self._core.stats(self._id)
        counts = {name: getattr(core, name) for name in names}
        stopped = core.stopped / core.distributions if core.distributions else 1.0
        stats = replace(self._stats, tokens=len(self._tokens), stopped=stopped, **counts)
        finish = "stop" if self._stops.found else self._finish_reason
        return Generation("".join(self._text), list(self._tokens), finish, stats)

    # What `batch` asks of a run.

    def model(self, which: str) -> Any:
        return self._session.target if which == "target" else self._session.drafter

    def ask(self) -> tuple[str, Feed] | None:
        """The model this run waits for and what to feed to it; None: ended, or an error."""
        self._collect()
        try:
            self._core.resume(self._id)
            which, feeds = self._core.next()
            self._core.check(self._id)
        except Exception as error:
            self.error = error
            return None
        return (which, feeds[0]) if feeds else None

    def take(self, which: str, feed: Feed, rows: Any) -> None:
        """The rows [feed.rows, vocab] that were asked for."""
        try:
            if which == "target" and self._processor is not None:
                rows = process(self._processor, self.prompt, self._tokens, feed, rows)
            self._core.feed(rows)
            self._core.check(self._id)
        except Exception as error:
            self._core.failed()  # a processor's error: the model has taken the feed in
            self.error = error
        self._collect()

    def failed(self) -> None:
        """A model's call came to nothing, and may have changed its cache."""
        self._core.failed()

    def spend(self, what: str, seconds: float) -> None:
        """what: "seconds", "draft_seconds", "target_seconds"."""
        setattr(self._stats, what, getattr(self._stats, what) + seconds)

    def _collect(self) -> None:
        """Take over what the core has emitted since the last time."""
        if self._stops.found:
            return
        last = self.ended
        new = self._core.emitted(self._id, len(self._tokens))
        for i, (token, origin) in enumerate(new):
            self._tokens.append(token)
            text = self._show(token, flush=last and i == len(new) - 1)
            self._events.append(Event(text, (token,), origin))
            self._stats.accepted += origin == "accepted"
            if self._stops.found:  # what the round emitted behind it is dropped
                self._core.cancel(self._id)
                break
        if self.ended:
            self._forget()

    def _show(self, token: int, *, flush: bool) -> str:
        self._held += self._stops.feed(self._session.target.vocabulary.decode([token]))
        flush = flush or self._stops.found
        if flush:
            self._held += self._stops.rest()
        end = len(self._held) if flush else _core.complete_utf8(self._held)
        text, self._held = self._held[:end].decode("utf-8", "replace"), self._held[end:]
        self._text.append(text)
        return text


def _forget(models: tuple[tuple[Any, int], ...]) -> None:
    for model, cache in models:
        if hasattr(model, "forget"):
            model.forget(cache)
