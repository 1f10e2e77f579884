"""Calls between processes: they take time, get lost on the way, or come back without their answer."""

import asyncio
import random
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Generic, TypeVar

from fleetkit.errors import DeadlineExceeded, FleetError, Unavailable
from tests.simulation.loop import VirtualLoop
from tests.simulation.process import Host, Process

T = TypeVar("T")

_CRASHED = "The connection broke."


@dataclass(slots=True, kw_only=True)
class Weather:
    """How bad the network is: shares of calls, and the longest that a slow leg takes, in seconds."""

    request_lost: float = 0.0
    answer_lost: float = 0.0
    slow: float = 0.0
    slowest: float = 1.0

    def clear_up(self) -> None:
        self.request_lost = self.answer_lost = self.slow = 0.0


class Network:
    """Carries calls. An answer is a value or a FleetError; a caller whose call got lost hears it late or never."""

    def __init__(self, loop: VirtualLoop, chance: random.Random, weather: Weather) -> None:
        self._loop = loop
        self._draw = chance.random
        self.weather = weather

    async def call(
        self,
        source: Process,
        target: Process | None,
        work: Callable[[], Coroutine[object, object, T]],
        *,
        within: float,
    ) -> T:
        """Have `work` done in another process and return its answer. Raises its FleetError; Unavailable when the
        connection breaks, DeadlineExceeded after `within` seconds.
        """
        if not source.is_steady:
            await source.step()
        call = _Call(self, source, target, work)
        self._loop.call_later(self.leg(), call.arrive)
        expiry = self._loop.call_later(within, call.expire)
        try:
            answer = await call.answer
        except asyncio.CancelledError:
            self._loop.call_later(self.leg(), call.hang_up)
            raise
        finally:
            expiry.cancel()
        if not source.is_steady:
            await source.step()
        return answer

    def leg(self) -> float:
        """Return how long one way takes."""
        weather, draw = self.weather, self._draw
        if weather.slow and draw() < weather.slow:
            return draw() * weather.slowest
        return 0.001 + 0.009 * draw()

    def carries(self, source: Host, target: Host) -> bool:
        return not source.mute and not target.deaf

    def loses(self, share: float) -> bool:
        return share > 0.0 and self._draw() < share

    def draw(self) -> float:
        return self._draw()

    def later(self, work: Callable[[], object]) -> None:
        self._loop.call_later(self.leg(), work)

    def new_answer(self) -> "asyncio.Future[T]":
        return self._loop.create_future()


class _Call(Generic[T]):
    """One call under way."""

    def __init__(
        self,
        network: Network,
        source: Process,
        target: Process | None,
        work: Callable[[], Coroutine[object, object, T]],
    ) -> None:
        self.answer: asyncio.Future[T] = network.new_answer()
        self._network = network
        self._source = source
        self._target = target
        self._work = work
        self._serving: asyncio.Task[None] | None = None

    def arrive(self) -> None:
        network, target = self._network, self._target
        if target is None or not target.alive:
            self._break()
        elif not network.carries(self._source.host, target.host) or network.loses(network.weather.request_lost):
            # A packet into the void; or a connection that breaks, which is noticed.
            if network.draw() < 0.5:
                self._break()
        elif not self.answer.done():
            self._serving = target.spawn(self._serve(target))

    def expire(self) -> None:
        if not self.answer.done():
            self.answer.set_exception(DeadlineExceeded("The call took too long."))
        self._end_work()

    def hang_up(self) -> None:
        if self._target is not None and self._network.carries(self._source.host, self._target.host):
            self._end_work()

    async def _serve(self, target: Process) -> None:
        network = self._network
        try:
            if not target.is_steady:
                await target.step()
            result = await self._work()
        except FleetError as error:
            self._send(target, error=error)
        except asyncio.CancelledError:
            if not target.alive:
                self._break()
            raise
        else:
            if network.loses(network.weather.answer_lost):
                self._break()
            else:
                self._send(target, result=result)

    def _send(self, target: Process, *, result: T | None = None, error: FleetError | None = None) -> None:
        def settle() -> None:
            if self.answer.done() or not self._network.carries(target.host, self._source.host):
                return
            if error is not None:
                self.answer.set_exception(error)
            else:
                self.answer.set_result(result)  # type: ignore[arg-type]  # without an error there is a result

        self._network.later(settle)

    def _break(self) -> None:
        def settle() -> None:
            if not self.answer.done():
                self.answer.set_exception(Unavailable(_CRASHED))

        self._network.later(settle)

    def _end_work(self) -> None:
        # Who is stopped hears of it later, if at all: the work may have begun then.
        if self._serving is None or self._target is None:
            return
        if not self._target.paused or self._network.draw() < 0.5:
            self._serving.cancel()
