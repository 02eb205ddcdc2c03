"""Who may be decoded: places and cache bytes, and a bounded queue in front of them."""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from anydraft.serve.errors import ApiError


@dataclass(eq=False)
class _Waiting:
    places: int
    cost: int
    admitted: asyncio.Future[None]


class Admission:
    """First come, first served: a large request is not overtaken, so it comes to its turn.

    Args:
        places: texts decoded at a time.
        capacity: of their caches together, in bytes.
        queue: requests that may wait.
        patience: seconds that they may.

    Attributes:
        free: places.
        room: bytes.
        draining: nobody new is admitted.
    """

    def __init__(self, places: int, capacity: int, queue: int, patience: float) -> None:
        self.places, self.capacity = places, capacity
        self.free, self.room = places, capacity
        self.draining = False
        self._queue_limit, self._patience = queue, patience
        self._waiting: deque[_Waiting] = deque()
        self._mean_seconds = 1.0  # that a request holds its place, lately

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    @asynccontextmanager
    async def place(self, places: int, cost: int) -> AsyncGenerator[None, None]:
        """Holds places and bytes; leaving gives them back.

        Raises:
            ApiError: 400, more than there is; 429, a full queue; 503, waited too long, or the
                server is going down.
        """
        await self._enter(places, cost)
        started = time.monotonic()
        try:
            yield
        finally:
            self._mean_seconds += 0.1 * (time.monotonic() - started - self._mean_seconds)
            self._give_back(places, cost)

    async def _enter(self, places: int, cost: int) -> None:
        if places > self.places:
            raise ApiError(400, f"expected at most {self.places} texts at a time, got {places}")
        if cost > self.capacity:
            raise ApiError(
                400,
                f"a cache of {cost} bytes is needed for prompt and max_tokens, and the server has "
                f"{self.capacity}: ask for fewer tokens",
                code="context_length_exceeded",
            )
        if self.draining:
            raise ApiError(503, "the server is going down", headers={"retry-after": "5"})
        if not self._waiting and places <= self.free and cost <= self.room:
            self.free, self.room = self.free - places, self.room - cost
            return
        if len(self._waiting) >= self._queue_limit:
            raise self._busy(429, f"{len(self._waiting)} requests are waiting already")
        one = _Waiting(places, cost, asyncio.get_running_loop().create_future())
        self._waiting.append(one)
        try:
            await asyncio.wait_for(asyncio.shield(one.admitted), self._patience)
        except BaseException as error:
            if one.admitted.done():
                self._give_back(places, cost)
            else:
                one.admitted.cancel()
                self._waiting.remove(one)
                self._admit()  # it may have stood in the way of smaller ones
            if isinstance(error, asyncio.TimeoutError):
                told = f"no place within {self._patience:g} seconds"
                raise self._busy(503, told) from None
            raise

    def _give_back(self, places: int, cost: int) -> None:
        self.free, self.room = self.free + places, self.room + cost
        self._admit()

    def _admit(self) -> None:
        while self._waiting:
            first = self._waiting[0]
            if first.places > self.free or first.cost > self.room:
                return
            self._waiting.popleft()
            self.free, self.room = self.free - first.places, self.room - first.cost
            first.admitted.set_result(None)

    def _busy(self, status: int, message: str) -> ApiError:
        rounds = 1 + len(self._waiting) / self.places
        seconds = min(max(math.ceil(rounds * self._mean_seconds), 1), 60)
        return ApiError(status, message, headers={"retry-after": str(seconds)}, code="busy")
