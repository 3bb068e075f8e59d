"""What an actor has to say, until the driver fetches it; steps that follow each other too quickly become one."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncGenerator, Callable, Sequence

from engine.host import wire

STEP_SECONDS = 0.5
"""Shortest time between two steps of the same requests that are told, except for the first and the last one."""

ITEM_BYTES = 4 * 2**20
"""From here on, frames go into the next item of the stream."""

ITEMS = 1000
"""Items of one stream: Ray keeps something of each until its stream ends."""

STREAM_SECONDS = 60.0
"""Longest life of one stream."""


MOST_WAITING = 1000
"""Frames that wait from which on no more notices are added: nobody bounds the warnings of a device."""


class Outbox:
    """Messages on their way to the driver, in order. ``put`` and ``end`` may be called on any thread.

    Args:
        clock: Monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._loop = asyncio.get_running_loop()
        self._changed = asyncio.Event()
        self._frames: list[bytes] = []
        self._steps: dict[tuple[int, ...], wire.StepDone] = {}
        self._told: dict[tuple[int, ...], float] = {}
        self._ended = False

    def put(self, message: wire.Message) -> None:
        """Add a message. A step that is neither a first nor a last one may be replaced by the next one."""
        with self._lock:
            if isinstance(message, wire.StepDone):
                key, now = message.tickets, self._clock()
                self._steps.pop(key, None)
                self._steps[key] = message
                if not _counts(message) and now - self._told.get(key, float("-inf")) < STEP_SECONDS:
                    if len(self._steps) == 1:
                        self._wake()
                    return
            elif (isinstance(message, wire.Heartbeat) and self._frames) or (
                isinstance(message, wire.Notice) and len(self._frames) >= MOST_WAITING
            ):
                return
            self._take_steps()
            if not isinstance(message, wire.StepDone):
                self._frames.append(wire.CODEC.encode(message))
            self._wake()

    def end(self) -> None:
        """The worker has ended: nothing comes any more."""
        with self._lock:
            self._take_steps()
            self._ended = True
            self._wake()

    def call(self, function: Callable[[Sequence[int]], None], tickets: Sequence[int]) -> None:
        """Call a function about requests on the loop."""
        self._loop.call_soon_threadsafe(function, tickets)

    async def stream(self) -> AsyncGenerator[bytes]:
        """Yield whole frames until the stream is long enough; an empty item says that the worker has ended."""
        until = self._clock() + STREAM_SECONDS
        for _ in range(ITEMS):
            item = await self._next(until)
            if item is None:
                return
            yield item
            if not item:
                return

    async def _next(self, until: float) -> bytes | None:
        while True:
            self._changed.clear()
            with self._lock:
                now = self._clock()
                due = min((self._told.get(key, now) + STEP_SECONDS for key in self._steps), default=None)
                if due is not None and due <= now:
                    self._take_steps()
                if self._frames:
                    return self._take_item()
                if self._ended:
                    return b""
            if now >= until:
                return None
            try:
                async with asyncio.timeout(max(0.0, min(due or until, until) - now)):
                    await self._changed.wait()
            except TimeoutError:
                pass

    def _take_item(self) -> bytes:
        size = count = 0
        while count < len(self._frames) and size < ITEM_BYTES:
            size += len(self._frames[count])
            count += 1
        taken, self._frames = self._frames[:count], self._frames[count:]
        return taken[0] if count == 1 else b"".join(taken)

    def _take_steps(self) -> None:
        now = self._clock()
        for step in self._steps.values():
            self._frames.append(wire.CODEC.encode(step))
        # Of requests that take no steps any more, the time does not count.
        self._told = {key: at for key, at in self._told.items() if now - at < STEP_SECONDS}
        self._told.update(dict.fromkeys(self._steps, now))
        self._steps.clear()

    def _wake(self) -> None:
        self._loop.call_soon_threadsafe(self._changed.set)


def _counts(step: wire.StepDone) -> bool:
    """Whether this step is the first or the last one of a request."""
    return 1 in step.done or any(done == of for done, of in zip(step.done, step.steps, strict=True))
