"""An answer on its way: its place, its texts, its client."""

from __future__ import annotations

import asyncio
import logging
import time
import traceback
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from anydraft.async_session import AsyncSession
from anydraft.errors import InputError, NonFiniteLogitsError
from anydraft.request import Event
from anydraft.sampling import SamplingParams
from anydraft.serve.admission import Admission
from anydraft.serve.errors import ApiError, out_of_time
from anydraft.serve.http import until_gone
from anydraft.serve.metrics import Metrics
from anydraft.serve.options import ServerOptions
from anydraft.serve.style import Choice, Style

log = logging.getLogger("anydraft.serve")
_SSE = {"content-type": "text/event-stream; charset=utf-8", "cache-control": "no-cache"}
_JSON = {"content-type": "application/json"}


@dataclass(frozen=True)
class Serving:
    """What all answers of a server share."""

    streams: AsyncSession
    options: ServerOptions
    admission: Admission
    metrics: Metrics


class Answer(Response):
    """Decodes the choices and writes them, whole or as a stream, while the client is there."""

    def __init__(
        self,
        serving: Serving,
        style: Style,
        choices: list[Choice],
        sampling: SamplingParams,
        *,
        cost: int,
        stream: bool,
        started: float,
    ) -> None:
        super().__init__()
        self._serving, self._style, self._choices = serving, style, choices
        self._sampling, self._cost, self._stream = sampling, cost, stream
        self._send: Send | None = None
        self._begun = False
        self._sending_since: float | None = None
        self._started = started  # before its prompt was read
        self._first_token: float | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Of ASGI."""
        self._send = send
        work = asyncio.ensure_future(self._work())
        gone = asyncio.ensure_future(until_gone(receive))
        outcome = "cancelled"
        try:
            outcome = await self._watched(work, gone, scope)
        finally:
            for task in (work, gone):
                task.cancel()
            await asyncio.gather(work, gone, return_exceptions=True)
            self._told(outcome)

    async def _watched(
        self, work: asyncio.Future[None], gone: asyncio.Future[None], scope: Scope
    ) -> str:
        options = self._serving.options
        end = self._started + options.request_timeout
        while True:
            now = time.perf_counter()
            tick = max(min(end - now, options.write_timeout / 4), 0.001)
            await asyncio.wait((work, gone), timeout=tick, return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                return await self._outcome(work)
            if gone.done():
                return "client gone"
            now, since = time.perf_counter(), self._sending_since
            if since is not None and now - since > options.write_timeout:
                self._cut(scope)
                return "slow reader"
            if now >= end:
                work.cancel()
                await asyncio.wait((work,))
                await self._refuse(out_of_time(options.request_timeout))
                return "timeout"

    async def _outcome(self, work: asyncio.Future[None]) -> str:
        try:
            work.result()
        except ApiError as error:
            await self._refuse(error)
            return str(error.status)
        except InputError as error:  # what only the engine knows, say, a token out of range
            await self._refuse(ApiError(400, str(error)))
            return "400"
        except Exception as error:
            if _none_left(error, self._sampling):
                told = "allowed_token_ids, bad_words and min_tokens leave no token to go on with"
                await self._refuse(ApiError(400, told, code="invalid_value"))
                return "400"
            log.error("%s: %s", self._style.id, told_for_log(error, self._serving.options))
            await self._refuse(ApiError(500, f"the model failed: {type(error).__name__}"))
            return "500"
        return "200"

    async def _work(self) -> None:
        serving, choices = self._serving, self._choices
        async with serving.admission.place(len(choices), self._cost):
            serving.metrics.wait.observe(time.perf_counter() - self._started)
            serving.metrics.prompt_tokens.inc(sum(len(choice.prompt) for choice in choices))
            async with _all(self._decode(choice) for choice in choices) as tasks:
                await asyncio.gather(*tasks)
        if self._stream:
            await self._write(self._style.finish(choices), more=False)
        else:
            body = self._style.whole(choices)
            await self._begin(200, {**_JSON, "content-length": str(len(body))})
            await self._write(body, more=False)

    async def _decode(self, choice: Choice) -> None:
        serving, style, metrics = self._serving, self._style, self._serving.metrics
        last = None
        async with serving.streams.open(
            choice.prompt, sampling=self._sampling, random_stream=choice.index
        ) as request:
            while events := await request.take():
                taken = time.perf_counter()
                choice.tokens += len(events)
                text = choice.shown(events, style.texts)
                await self._show(choice, text, events)
                now = time.perf_counter()
                if request.decided is not None:
                    if last is not None:
                        metrics.between.observe(request.decided - last)
                    last = request.decided
                    metrics.delivery.observe(now - request.decided)
                if self._first_token is None:
                    self._first_token = now
                    metrics.first_token.observe(now - self._started)
                metrics.count(events)
                metrics.own.observe((time.perf_counter() - taken) / len(events))
            made = request.handle.generation
        rest = choice.end(made.finish_reason or "error")
        choice.stats = made.stats
        metrics.ended(made.stats, choice.reason)
        if self._stream:
            await self._open_stream()
            await self._write(style.last(choice, rest))
        else:
            choice.text.append(rest)

    async def _show(self, choice: Choice, text: str, events: list[Event]) -> None:
        if not self._stream:
            choice.text.append(text)
            if self._style.keeps_events:
                choice.events += events
            return
        await self._open_stream()
        await self._write(self._style.chunk(choice, text, events))

    async def _open_stream(self) -> None:
        if not self._begun:
            await self._begin(200, _SSE)
            for choice in self._choices:
                await self._write(self._style.first(choice))

    async def _begin(self, status: int, headers: Mapping[str, str]) -> None:
        if self._begun:
            return
        self._begun = True
        assert self._send is not None
        named = {**headers, "x-request-id": self._style.id}
        raw = [(name.encode(), value.encode("latin-1")) for name, value in named.items()]
        self._serving.metrics.responses.labels(str(status)).inc()
        await self._send({"type": "http.response.start", "status": status, "headers": raw})

    async def _write(self, body: bytes, *, more: bool = True) -> None:
        if not body and more:
            return
        assert self._send is not None
        self._sending_since = time.perf_counter()
        await self._send({"type": "http.response.body", "body": body, "more_body": more})
        self._sending_since = None

    async def _refuse(self, error: ApiError) -> None:
        """An error as the answer, or as the last event of a stream that has begun."""
        body = error.encoded()
        if self._begun:
            await self._write(b"data: " + body + b"\n\n", more=False)
        else:
            headers = {**_JSON, **error.headers, "content-length": str(len(body))}
            await self._begin(error.status, headers)
            await self._write(body, more=False)

    def _cut(self, scope: Scope) -> None:
        """The connection's buffers are full: what is in them is given up with it."""
        abort: Any = scope.get("anydraft.abort")
        if abort is not None:
            abort()

    def _told(self, outcome: str) -> None:
        seconds = time.perf_counter() - self._started
        self._serving.metrics.total.observe(seconds)
        prompt = sum(len(choice.prompt) for choice in self._choices)
        new = sum(choice.tokens for choice in self._choices)
        log.info("%s %s: prompt %d, text %d tokens, %.2f s", self._style.id, outcome, prompt, new,
                 seconds)  # fmt: skip


@asynccontextmanager
async def _all(calls: Any) -> AsyncGenerator[list[asyncio.Future[None]], None]:
    """Tasks, none of which is left behind."""
    tasks = [asyncio.ensure_future(call) for call in calls]
    try:
        yield tasks
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _none_left(error: Exception, sampling: SamplingParams) -> bool:
    """Whether what a request allows is empty, rather than that the model gave no logits."""
    masks = sampling.allowed_token_ids is not None or bool(sampling.bad_words)
    return masks and isinstance(error, NonFiniteLogitsError) and "everywhere" in str(error)


def told_for_log(error: BaseException, options: ServerOptions) -> str:
    """An error for the log: its message may have something of a prompt."""
    frames = "".join(traceback.format_tb(error.__traceback__))
    message = f": {error}" if options.log_prompts else ""
    return f"{type(error).__name__}{message}\n{frames}"
