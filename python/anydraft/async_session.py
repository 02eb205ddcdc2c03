"""Many streams at once in asyncio, one engine behind them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any

from anydraft.checks import whole_number
from anydraft.errors import Error, InputError
from anydraft.prompts import Prompt
from anydraft.request import Event, Generation, RequestHandle
from anydraft.session import SpeculativeSession


class AsyncRequest:
    """A request between the engine's thread and its reader, out of `AsyncSession.open`.

    Attributes:
        handle: of the session; the engine's thread uses it until the request has ended.
        error: what ended it before its time.
        decided: `time.perf_counter()` of when the oldest of the last `take`'s events were.
    """

    def __init__(self, handle: RequestHandle, taken: Callable[[AsyncRequest], None]) -> None:
        self.handle = handle
        self.news = asyncio.Event()
        self.error: BaseException | None = None
        self.held = False  # for its reader: too many events wait
        self.decided: float | None = None
        self._waiting_since: float | None = None
        self._taken = taken

    def tell(self, now: float) -> None:
        """A round has ended."""
        if self.handle.pending and self._waiting_since is None:
            self._waiting_since = now
        self.news.set()

    def fail(self, error: BaseException) -> None:
        self.error = self.error or error
        self.news.set()

    @property
    def done(self) -> bool:
        return self.handle.ended or self.error is not None

    async def take(self, most: int | None = None) -> list[Event]:
        """The events that have come since the last time, at least one; none: that was all.

        Raises:
            What ended the request before its time.
            InputError: `most` below 1.
        """
        if most is not None:
            most = whole_number(most, "AsyncRequest.take", "most", 1)
        while True:
            self.news.clear()
            if events := self.handle.take(most):
                self.decided, self._waiting_since = self._waiting_since, None
                self._taken(self)
                return events
            if self.done and not self.handle.pending:
                break
            await self.news.wait()
        if self.error is not None:
            raise self.error
        return []


class AsyncSession:
    """Concurrent streams over one `SpeculativeSession`: each model call serves all that wait.

    The models run in a thread of the session's own, so the event loop stays free. A reader that is
    slow holds its own request back and no other: with `ahead` events untaken the request is left
    out of the rounds.

    Args:
        session: not to be used otherwise from now on.
        ahead: so many events that wait for their reader hold a request back; the round that comes
            to them may bring a few more.

    >>> import asyncio, torch
    >>> from anydraft import SamplingParams, Vocabulary, stateless
    >>> v = Vocabulary.from_bytes([b"a", b"b"], encoder=lambda text: [ord(c) - 97 for c in text])
    >>> model = stateless(lambda ids: torch.nn.functional.one_hot(1 - ids, 2) * 9.0, v)
    >>> async def main():
    ...     greedy = SamplingParams(temperature=0, max_tokens=3)
    ...     async with AsyncSession(SpeculativeSession(model, sampling=greedy)) as session:
    ...         return "".join([event.text async for event in session.stream("a")])
    >>> asyncio.run(main())
    'bab'
    """

    def __init__(self, session: SpeculativeSession, *, ahead: int = 64) -> None:
        if not isinstance(session, SpeculativeSession):
            raise InputError(f"[AsyncSession] expected a SpeculativeSession, got {session!r}")
        self._session = session
        self._ahead = whole_number(ahead, "AsyncSession", "ahead", 1)
        self._streams: dict[int, AsyncRequest] = {}
        self._engine = ThreadPoolExecutor(1, thread_name_prefix="anydraft")
        self._home: asyncio.AbstractEventLoop | None = None
        self._wake = asyncio.Event()
        self._rounds: asyncio.Task[None] | None = None
        self._closed = False
        self._asked = False  # something waits for the engine's thread
        self._opening = 0  # streams that are about to join

    async def __aenter__(self) -> AsyncSession:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @property
    def active(self) -> int:
        """Streams that have not ended."""
        return len(self._streams)

    async def stream(self, prompt: Prompt, **options: Any) -> AsyncGenerator[Event, None]:
        """Events of one request, as `SpeculativeSession.stream`; close the iterator to cancel.

        Raises:
            InputError: a prompt or options that cannot be; a closed session.
            What the models raise: then every stream has it. A request's own error is its own.
            Error: the session was closed meanwhile.
        """
        async with self.open(prompt, **options) as request:
            while events := await request.take(1):
                yield events[0]

    async def generate(self, prompt: Prompt, **options: Any) -> Generation:
        """The whole of one request."""
        async with self.open(prompt, **options) as request:
            while await request.take():
                pass
            return request.handle.generation

    @asynccontextmanager
    async def open(self, prompt: Prompt, **options: Any) -> AsyncGenerator[AsyncRequest, None]:
        """One request whose events are taken as they come, several at once; leaving cancels it.

        Raises:
            As `stream`.
        """
        stream = await self._open(prompt, options)
        try:
            yield stream
        finally:
            await self._shut(stream)

    async def close(self) -> None:
        """Cancels what is going on, whose readers get an `Error`, and lets the thread go."""
        self._closed = self._asked = True
        if self._home is asyncio.get_running_loop():  # another loop has ended, and its rounds
            self._wake.set()
            if self._rounds is not None:
                await asyncio.wait([self._rounds])
        for stream in list(self._streams.values()):
            if not stream.done:
                stream.fail(Error("[AsyncSession] closed before the text was at its end"))
            if not stream.handle.ended:
                await self._in_thread(stream.handle.cancel)
        self._engine.shutdown(wait=False)

    async def _open(self, prompt: Prompt, options: dict[str, Any]) -> AsyncRequest:
        if self._closed:
            raise InputError("[AsyncSession] expected an open session, got a closed one")
        self._settle_in()
        opening = asyncio.ensure_future(
            self._in_thread(lambda: self._session.stream(prompt, **options))
        )
        self._opening += 1
        try:
            handle: RequestHandle = await asyncio.shield(opening)
        except asyncio.CancelledError:
            opening.add_done_callback(self._give_back)
            raise
        finally:
            self._opening -= 1
        if self._closed:  # meanwhile
            self._give_back(opening)
            raise InputError("[AsyncSession] expected an open session, got a closed one")
        stream = AsyncRequest(handle, self._taken)
        self._streams[handle.id] = stream
        self._asked = True
        self._wake.set()
        if self._rounds is None or self._rounds.done():
            self._rounds = asyncio.create_task(self._run())
        return stream

    def _give_back(self, opening: asyncio.Future[RequestHandle]) -> None:
        """A request that was begun when nobody wanted it any more."""
        if opening.cancelled() or opening.exception() is not None:
            return
        try:
            self._engine.submit(opening.result().cancel)
        except RuntimeError:  # the thread has gone: nothing else uses the engine
            opening.result().cancel()

    def _settle_in(self) -> None:
        """One event loop at a time; another one may follow it."""
        here = asyncio.get_running_loop()
        if self._home is here:
            return
        if self._home is not None and not self._home.is_closed() and self._streams:
            raise InputError(
                "[AsyncSession] expected one event loop, got a second one while streams of "
                "another are going on: a session for each, or one loop for all"
            )
        self._home, self._wake, self._rounds = here, asyncio.Event(), None
        self._streams.clear()  # of a loop that is closed: nobody reads them

    async def _shut(self, stream: AsyncRequest) -> None:
        self._streams.pop(stream.handle.id, None)
        self._wake.set()
        self._asked = self._asked or not stream.done
        if not stream.handle.ended:
            # Shielded: a task that is cancelled still gives its cache back.
            await asyncio.shield(self._in_thread(stream.handle.cancel))

    async def _in_thread(self, call: Callable[[], Any]) -> Any:
        self._asked = True  # the rounds that go on make way
        return await asyncio.get_running_loop().run_in_executor(self._engine, call)

    async def _run(self) -> None:
        """Rounds for all streams that can take more, until there are none."""
        home = asyncio.get_running_loop()
        try:
            while not self._closed and self._streams:
                self._wake.clear()
                streams = self._streams.values()
                going = [s for s in streams if not s.done and s.handle.pending < self._ahead]
                if not going:
                    await self._wake.wait()
                    continue
                for stream in going:
                    stream.held = False
                self._asked = False
                await home.run_in_executor(self._engine, self._advance, going, home)
        except BaseException as error:  # of the task itself: nobody is left waiting
            for stream in self._streams.values():
                stream.fail(error)
            raise
        finally:
            self._asked = True

    def _advance(self, going: list[AsyncRequest], home: asyncio.AbstractEventLoop) -> None:
        """In the engine's thread: round after round, without a turn of the event loop between two,
        until something is asked of the engine or a stream that was held back can take more."""
        while going:
            failure: Exception | None = None
            try:
                self._session._advance([stream.handle for stream in going], one_call=True)
            except Exception as error:
                failure = error
            for stream in going:
                stream.held = stream.handle.pending >= self._ahead
            try:
                home.call_soon_threadsafe(self._tell, going, time.perf_counter(), failure)
            except RuntimeError:  # the loop is closed
                return
            if failure or self._asked or self._opening:
                return
            going = [s for s in going if not (s.done or s.handle.error or s.held)]

    def _tell(self, going: list[AsyncRequest], now: float, failure: Exception | None) -> None:
        """In the event loop: a round has ended."""
        for stream in going:
            error = failure or stream.handle.error
            if error is not None:
                stream.fail(error)
            if stream.held and stream.handle.pending < self._ahead:
                self._asked = True
            stream.tell(now)

    def _taken(self, stream: AsyncRequest) -> None:
        self._wake.set()
        if stream.held:
            self._asked = True
