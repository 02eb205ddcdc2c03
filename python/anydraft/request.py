"""One request on its way: events while it is decoded, and what it came to."""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

from anydraft import _core
from anydraft.penalties import LogitsProcessor
from anydraft.stops import StopStrings

if TYPE_CHECKING:
    from anydraft.session import SpeculativeSession

Origin: TypeAlias = Literal["accepted", "recovered", "bonus"]


@dataclass(frozen=True)
class TokenLogprobs:
    """Natural logarithms of the distribution that a token was drawn from.

    Attributes:
        logprob: of the token.
        top: {id: log-probability} of the likeliest ones, likeliest first.

    >>> told = TokenLogprobs(-0.1, {7: -0.1, 3: -2.4})
    >>> next(iter(told.top))  # the likeliest
    7
    """

    logprob: float
    top: dict[int, float]


class Event(NamedTuple):
    """One token as it is decided.

    Attributes:
        text: what can be shown now; an unfinished character is held back for a later event.
        tokens: the token's id.
        origin: accepted (drafted), recovered (after a rejection), bonus (after the last draft).
        source: the bridge whose draft the round judged ("tli", "lookup", ...; "none": no draft).
        logprobs: where the request asked for them.

    >>> event = Event(" the", (279,), "accepted", source="slem")
    >>> event.text, event.origin
    (' the', 'accepted')
    """

    text: str
    tokens: tuple[int, ...]
    origin: Origin
    source: str = ""
    logprobs: TokenLogprobs | None = None


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
    ended. Much below 1: a larger budget (`Slrs`), or another bridge, may serve better. `draft_cost`
    and `row_costs` are what the session's choices counted with.

    >>> stats = GenerationStats(tokens=6, target_calls=2, drafted=8, accepted=4)
    >>> stats.acceptance_rate, stats.accepted_per_call
    (0.5, 2.0)
    """

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
    draft_cost: float = 0.0
    row_costs: list[float] = field(default_factory=list)

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
        logprobs: [tokens], where the request asked for them.

    >>> told = Generation("bab", [1, 0, 1], "length", GenerationStats(tokens=3, target_calls=1))
    >>> told.text, told.finish_reason, told.stats.tokens
    ('bab', 'length', 3)
    """

    text: str
    tokens: list[int]
    finish_reason: str | None
    stats: GenerationStats
    logprobs: list[TokenLogprobs] = field(default_factory=list)


class RequestHandle(Iterator[Event]):
    """A request being decoded: iterate for events. Where a model's call raises, the exception comes
    through, `generation` still has all that was emitted, and iterating again goes on from there.

    Attributes:
        id: names it in its session; models key their caches by it.
        prompt: the target ids it started from.
        error: what ended it before its time, among several decoded together.
        history: all events so far, taken or not.

    >>> import torch
    >>> from anydraft import SamplingParams, SpeculativeSession, Vocabulary, stateless
    >>> v = Vocabulary.from_bytes([b"a", b"b"], encoder=lambda text: [ord(c) - 97 for c in text])
    >>> model = stateless(lambda ids: torch.nn.functional.one_hot(1 - ids, 2) * 9.0, v)
    >>> session = SpeculativeSession(model, model, sampling=SamplingParams(temperature=0))
    >>> handle = session.stream("a", max_tokens=100)
    >>> next(handle).text
    'b'
    >>> handle.cancel()
    >>> handle.generation.finish_reason
    'cancelled'
    """

    def __init__(
        self,
        session: SpeculativeSession,
        id: int,
        prompt: list[int],
        logits_processor: LogitsProcessor | None,
        stop_strings: StopStrings,
    ) -> None:
        self.id = id
        self.prompt = prompt
        self.error: BaseException | None = None
        self.processor = logits_processor
        self.in_memory = False  # its rows are read there, wherever the others' are
        self.span: tuple[float, float] | None = None  # perf_counter() of its first and last call
        self._session = session
        self._engine = session._engine
        # The engine and the models keep what they know of it until it ends or is given up.
        self._forget = weakref.finalize(self, session._given_up.append, id)
        self._decode = session.target.vocabulary.table.decode
        self._ended: tuple[str, Any] | None = None  # finish reason, counts
        self.tokens: list[int] = []
        self.history: list[Event] = []
        self._events: deque[Event] = deque()  # filled by one thread, emptied by another
        self._stops = stop_strings
        self._held = b""
        self._stats = GenerationStats(
            bridge=session.bridge, draft_cost=session.draft_cost, row_costs=session.row_costs
        )

    def __next__(self) -> Event:
        self._collect()  # what an interrupt between the engine and here left behind
        while not self._events and not self.ended:
            self._session._advance([self])
            if self.error is not None:
                raise self.error
        if self._events:
            return self._events.popleft()
        raise StopIteration

    def cancel(self) -> None:
        """End the request; what was emitted stays."""
        if self._ended is None:
            self._engine.cancel(self.id)
            self._collect()

    @property
    def ended(self) -> bool:
        """Whether nothing more will be emitted."""
        return self._ended is not None

    @property
    def pending(self) -> int:
        """Events that have not been taken yet."""
        return len(self._events)

    @property
    def generation(self) -> Generation:
        """What there is so far."""
        self._collect()
        reason, core = self._ended or self._told()
        names = ("target_calls", "draft_calls", "drafted", "bridges")
        counts = {name: getattr(core, name) for name in names}
        stopped = core.stopped / core.distributions if core.distributions else 1.0
        stats = replace(self._stats, tokens=len(self.tokens), stopped=stopped, **counts)
        told = [event.logprobs for event in self.history if event.logprobs is not None]
        text = "".join([event.text for event in self.history])
        return Generation(text, list(self.tokens), reason, stats, told)

    def take(self, most: int | None = None) -> list[Event]:
        """The events that have come and were not taken yet, at most so many."""
        count = len(self._events)
        return [self._events.popleft() for _ in range(count if most is None else min(count, most))]

    def _check(self) -> None:
        """After a step of the engine: what it emitted, and what went wrong in this request, which
        the next step goes on behind."""
        if not self._collect():
            return
        try:
            self._engine.check(self.id)
        except Exception as error:
            self.error = self.error or error
        finally:
            self._engine.resume(self.id)

    def _told(self) -> tuple[Any, Any]:
        reason: str | None = self._engine.finish(self.id)
        if self._stops.found:
            reason = "stop"
        unended = reason == "error"  # iterating goes on behind one
        return None if unended else reason, self._engine.stats(self.id)

    def _collect(self) -> bool:
        """Take over what the engine has emitted since the last time. Returns whether the request
        stands at an error."""
        if self._ended is not None:
            return False
        new = self._engine.emitted(self.id, len(self.tokens))
        reason = self._engine.finish(self.id)
        failed = reason == "error"
        last = reason is not None and not failed
        if not new and not last:
            return failed
        told = self._engine.logprobs(self.id, len(self.tokens))  # none unless asked
        for i, (token, origin, source) in enumerate(new):
            logprobs = TokenLogprobs(told[i].logprob, dict(told[i].top)) if told else None
            self.tokens.append(token)
            text = self._show(token, flush=last and i == len(new) - 1)
            event = Event(text, (token,), origin, source, logprobs)
            self.history.append(event)
            self._events.append(event)
            self._stats.accepted += origin == "accepted"
            if self._stops.found:  # what the round emitted behind it is dropped
                self._engine.cancel(self.id)
                last = True
                break
        if last:
            self._ended = self._told()
            self._forget()
            self._session._sweep()
        return failed and not last

    def _show(self, token: int, *, flush: bool) -> str:
        held = self._held + self._stops.feed(self._decode([token]))
        flush = flush or self._stops.found
        if flush:
            held += self._stops.rest()
        end = len(held) if flush or held.isascii() else _core.complete_utf8(held)
        self._held = held[end:]
        return held[:end].decode("utf-8", "replace")
