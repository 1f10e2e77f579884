"""An event loop whose clock and order are decided by a seed: no I/O, no threads, no wall clock."""

import asyncio
import heapq
import random
from collections.abc import Callable, Coroutine, Generator
from contextvars import Context
from typing import Any, TypeVar, TypeVarTuple, Unpack

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

_CALLBACK_SECONDS = 1e-6


class Stalled(Exception):
    """Nothing is left to do, and the main coroutine has not ended."""


class _Call(asyncio.TimerHandle):
    """A callback that is due; leaner than asyncio's own, because a schedule makes thousands."""

    __slots__ = ("arguments", "context", "dropped", "due", "function")

    # No super().__init__(): it would fill the slots that nothing here reads.
    def __init__(
        self, due: float, function: Callable[..., object], arguments: tuple[object, ...], context: Context
    ) -> None:
        self.due = due
        self.function = function
        self.arguments = arguments
        self.context = context
        self.dropped = False

    def cancel(self) -> None:
        self.dropped = True

    def cancelled(self) -> bool:
        return self.dropped

    def when(self) -> float:
        return self.due


def _settle(over: "asyncio.Future[None]") -> None:
    if not over.done():
        over.set_result(None)


class VirtualLoop(asyncio.BaseEventLoop):
    """Runs one of the ready callbacks, drawn by chance; when none is ready, the clock jumps to the next timer.

    `on_task` sees every task that is made.
    """

    def __init__(self, chance: random.Random) -> None:
        super().__init__()
        self._draw = chance.random
        # Of callbacks that name none: tasks bring their own.
        self._context = Context()
        self._now = 0.0
        self._calls: list[_Call] = []
        self._timers: list[tuple[float, int, _Call]] = []
        self._timer_count = 0
        self._stop_asked = False
        self.on_task: Callable[[asyncio.Task[Any]], None] | None = None  # Any: tasks of every result
        self.set_exception_handler(lambda _, __: None)

    def time(self) -> float:
        return self._now

    def call_soon(
        self, callback: Callable[[Unpack[Ts]], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        call = _Call(0.0, callback, args, context or self._context)
        self._calls.append(call)
        return call

    def call_at(
        self, when: float, callback: Callable[[Unpack[Ts]], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        call = _Call(when, callback, args, context or self._context)
        self._timer_count += 1
        heapq.heappush(self._timers, (when, self._timer_count, call))
        return call

    def call_later(
        self, delay: float, callback: Callable[[Unpack[Ts]], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        call = _Call(self._now + delay, callback, args, context or self._context)
        self._timer_count += 1
        heapq.heappush(self._timers, (call.due, self._timer_count, call))
        return call

    async def pause(self, seconds: float) -> None:
        """Let time pass; leaner than asyncio.sleep."""
        over: asyncio.Future[None] = asyncio.Future(loop=self)
        self.call_later(seconds, _settle, over)
        await over

    async def ring(self, bell: asyncio.Event, *, within: float) -> None:
        """Wait for a bell; after a while it rings by itself."""
        alarm = self.call_later(within, bell.set)
        try:
            await bell.wait()
        finally:
            alarm.cancel()

    def create_task(
        self,
        coro: Coroutine[Any, Any, T] | Generator[Any, None, T],  # Any: as in the base class
        *,
        name: object = None,
        context: Context | None = None,
    ) -> asyncio.Task[T]:
        task = asyncio.Task(coro, loop=self, name=str(name or ""), context=context)
        if self.on_task is not None:
            self.on_task(task)
        return task

    def close(self) -> None:
        # What will never fire holds on to nearly everything.
        self._timers.clear()
        self._calls.clear()
        super().close()

    def stop(self) -> None:
        self._stop_asked = True

    def run_forever(self) -> None:
        asyncio.events._set_running_loop(self)
        try:
            self._run()
        finally:
            self._stop_asked = False
            asyncio.events._set_running_loop(None)

    def drain(self) -> None:
        """Run what is ready, and what that makes ready, without letting time pass."""
        asyncio.events._set_running_loop(self)
        try:
            while self._calls:
                call = self._calls.pop()
                if not call.dropped:
                    call.context.run(call.function, *call.arguments)
        finally:
            asyncio.events._set_running_loop(None)

    def _run(self) -> None:
        calls, draw = self._calls, self._draw
        while not self._stop_asked:
            if not calls:
                self._jump()
            last = len(calls) - 1
            if last > 0:
                drawn = int(draw() * (last + 1))
                calls[drawn], calls[last] = calls[last], calls[drawn]
            call = calls.pop()
            if not call.dropped:
                # Work takes time; a clock that stood still would let a wait for less than its grain go on for ever.
                self._now += _CALLBACK_SECONDS
                call.context.run(call.function, *call.arguments)

    def _jump(self) -> None:
        """Make everything ready that is due at the next instant at which anything is."""
        while not self._calls:
            if not self._timers:
                raise Stalled
            due, _, call = heapq.heappop(self._timers)
            if call.dropped:
                continue
            self._calls.append(call)
            if due > self._now:
                self._now = due
            while self._timers and self._timers[0][0] <= self._now:
                call = heapq.heappop(self._timers)[2]
                if not call.dropped:
                    self._calls.append(call)
