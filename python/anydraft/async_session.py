"""Many streams at once in asyncio, one engine behind them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from anydraft.errors import InputError
from anydraft.prompts import Prompt
from anydraft.request import Event, Generation, RequestHandle
from anydraft.session import SpeculativeSession


class _Stream:
    """A request between the engine's thread and its reader."""

    def __init__(self, handle: RequestHandle) -> None:
        self.handle = handle
        self.news = asyncio.Event()
        self.error: BaseException | None = None

    @property
    def done(self) -> bool:
        return self.handle.ended or self.error is not None


class AsyncSession:
    """Concurrent streams over one `SpeculativeSession`: each model call serves all that wait.

    The models run in a thread of the session's own, so the event loop stays free. A reader that is
    slow holds its own request back and no other: with `ahead` events untaken the request is left
    out of the rounds.

    Args:
        session: not to be used otherwise from now on.
        ahead: most events of a stream that wait for its reader.

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
        if ahead < 1:
            raise InputError(f"[AsyncSession] expected ahead >= 1, got {ahead}")
        self._session = session
        self._ahead = ahead
        self._streams: dict[int, _Stream] = {}
        self._engine = ThreadPoolExecutor(1, thread_name_prefix="anydraft")
        self._wake = asyncio.Event()
        self._loop: asyncio.Task[None] | None = None
        self._closed = False

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
        """
        stream = await self._open(prompt, options)
        try:
            while True:
                stream.news.clear()
                for event in stream.handle.take():
                    self._wake.set()
                    yield event
                if stream.done and not stream.handle.pending:
                    break
                await stream.news.wait()
            if stream.error is not None:
                raise stream.error
        finally:
            await self._shut(stream)

    async def generate(self, prompt: Prompt, **options: Any) -> Generation:
        """The whole of one request."""
        stream = await self._open(prompt, options)
        try:
            while not stream.done:
                stream.news.clear()
                stream.handle.take()
                self._wake.set()
                if not stream.done:
                    await stream.news.wait()
            if stream.error is not None:
                raise stream.error
            return stream.handle.generation
        finally:
            await self._shut(stream)

    async def close(self) -> None:
        """Cancels what is going on and lets the thread go."""
        self._closed = True
        self._wake.set()
        if self._loop is not None:
            await self._loop
        for stream in list(self._streams.values()):
            stream.error = stream.error or asyncio.CancelledError()
            stream.news.set()
        self._engine.shutdown(wait=False)

    async def _open(self, prompt: Prompt, options: dict[str, Any]) -> _Stream:
        if self._closed:
            raise InputError("[AsyncSession] expected an open session, got a closed one")
        handle = await self._in_thread(lambda: self._session.stream(prompt, **options))
        stream = _Stream(handle)
        self._streams[handle.id] = stream
        self._wake.set()
        if self._loop is None or self._loop.done():
            self._loop = asyncio.create_task(self._run())
        return stream

    async def _shut(self, stream: _Stream) -> None:
        self._streams.pop(stream.handle.id, None)
        if not stream.handle.ended and not self._closed:
            # Shielded: a task that is cancelled still gives its cache back.
            await asyncio.shield(self._in_thread(stream.handle.cancel))

    async def _in_thread(self, call: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._engine, call)

    async def _run(self) -> None:
        """Rounds for all streams that can take more, until there are none."""
        while not self._closed and self._streams:
            self._wake.clear()
            going = [
                stream
                for stream in self._streams.values()
                if not stream.done and stream.handle.pending < self._ahead
            ]
            if not going:
                await self._wake.wait()
                continue
            handles = [stream.handle for stream in going]
            try:
                await self._in_thread(lambda handles=handles: self._session._advance(handles))
            except Exception as error:
                for stream in going:
                    stream.error = error
            for stream in going:
                stream.error = stream.error or stream.handle.error
                stream.news.set()
