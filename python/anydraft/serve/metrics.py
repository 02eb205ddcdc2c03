"""What `/metrics` tells Prometheus."""

from __future__ import annotations

import asyncio
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from anydraft.request import Event, GenerationStats
from anydraft.serve.admission import Admission

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
_SHORT = (1e-4, 2.5e-4, 5e-4, 1e-3, 2e-3, 5e-3, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)
_OWN = (2e-5, 3e-5, 5e-5, 7e-5, 1e-4, 1.5e-4, 2.5e-4, 5e-4, 1e-3, 2e-3, 5e-3, 0.01, 0.1, 1.0)


class Metrics:
    """Counters of one server; none of them has anything of a prompt."""

    def __init__(self, admission: Admission, target: Any) -> None:
        self._registry = registry = CollectorRegistry()

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"anydraft_{name}", text, labels, registry=registry)

        def histogram(name: str, text: str, buckets: tuple[float, ...] = _SECONDS) -> Histogram:
            return Histogram(f"anydraft_{name}", text, registry=registry, buckets=buckets)

        def gauge(name: str, text: str) -> Gauge:
            return Gauge(f"anydraft_{name}", text, registry=registry)

        self.responses = counter("responses", "Answers by HTTP status", "status")
        self.finished = counter("texts", "Texts by what ended them", "reason")
        self.prompt_tokens = counter("prompt_tokens", "Tokens of prompts")
        self._tokens = counter("tokens", "Tokens of texts", "origin")
        self._drafted = counter("drafted_tokens", "Tokens that were proposed")
        self._target_calls = counter("target_calls", "Rounds of the target, a text each")
        self._draft_calls = counter("draft_calls", "Calls of the drafter, a text each")
        self._model_seconds = counter("model_seconds", "Time in the models, a text each", "model")
        self.wait = histogram("queue_seconds", "Wait for a place")
        self.first_token = histogram("first_token_seconds", "From a request to its first token")
        self.total = histogram("request_seconds", "From a request to its end")
        self.between = histogram("between_tokens_seconds", "From round to round of a text", _SHORT)
        self.delivery = histogram("delivery_seconds", "From a round's end to its write", _SHORT)
        self.own = histogram("own_seconds", "The server's work for a token of a stream", _OWN)
        gauge("active_texts", "Decoded now").set_function(lambda: admission.places - admission.free)
        gauge("waiting_requests", "In the queue").set_function(lambda: admission.waiting)
        gauge("requests_with_cache", "In the target").set_function(
            lambda: getattr(target, "cached_requests", 0)
        )
        gauge("tasks", "Of the event loop").set_function(lambda: len(asyncio.all_tasks()))
        gauge("cache_bytes_reserved", "Of the models' caches").set_function(
            lambda: admission.capacity - admission.room
        )
        self._origins = {name: self._tokens.labels(name) for name in _ORIGINS}

    def count(self, events: list[Event]) -> None:
        for event in events:
            self._origins[event.origin].inc()

    def ended(self, stats: GenerationStats, reason: str) -> None:
        """Acceptance is accepted / drafted, tokens a call all tokens / target calls."""
        self.finished.labels(reason).inc()
        self._drafted.inc(stats.drafted)
        self._target_calls.inc(stats.target_calls)
        self._draft_calls.inc(stats.draft_calls)
        self._model_seconds.labels("target").inc(stats.target_seconds)
        self._model_seconds.labels("drafter").inc(stats.draft_seconds)

    def text(self) -> bytes:
        return generate_latest(self._registry)


_ORIGINS = ("accepted", "recovered", "bonus")
