"""JetStream as the fleet uses it: news that arrive at least once, and one scheduled message a session."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from fleetkit.errors import Unavailable
from fleetkit.verdicts import Outcome, Verdict
from reaper.policy import SessionId
from session_api.domain import identifiers
from tests.simulation.clocks import START
from tests.simulation.loop import VirtualLoop
from tests.simulation.process import Process
from tests.support.fleet_memory import News

_SCHEDULE = "schedule.session."
_ACK_WAIT = 30.0
_NOBODY_THERE = 1.0

Handler = Callable[[SessionId, int], Awaitable[Verdict]]


@dataclass(slots=True, kw_only=True)
class BusFaults:
    """Shares of messages and of acknowledgements, the longest delay of a due message, and whether the bus is away."""

    lost: float = 0.0
    doubled: float = 0.0
    late: float = 0.0
    latest: float = 10.0
    ack_lost: float = 0.0
    down: bool = False

    def mend(self) -> None:
        self.lost = self.doubled = self.late = self.ack_lost = 0.0
        self.down = False


@dataclass(eq=False, frozen=True, slots=True, kw_only=True)
class Consumer:
    """A reaper that takes due messages."""

    process: Process
    handle: Handler


class Bus:
    """What was published, and what is to be delivered."""

    def __init__(self, loop: VirtualLoop, chance: random.Random, faults: BusFaults) -> None:
        self.faults = faults
        self.consumers: list[Consumer] = []
        # Numbers of the events of each session, in the order of their arrival.
        self.events: dict[identifiers.SessionId, list[int]] = {}
        self._loop = loop
        self._draw = chance.random
        self._schedules: dict[str, asyncio.TimerHandle] = {}

    async def publish(self, source: Process, news: News) -> None:
        """Store a message. Raises Unavailable, and may have stored it then."""
        await source.step()
        await self._loop.pause(0.0005 + 0.002 * self._draw())
        await source.step()
        if self.faults.down:
            raise Unavailable("NATS does not answer.")
        self._store(news)
        if self._falls(self.faults.ack_lost):
            raise Unavailable("NATS did not confirm a message.")

    def _store(self, news: News) -> None:
        if news.subject.startswith(_SCHEDULE):
            self._schedule(news.subject.removeprefix(_SCHEDULE), news)
        elif news.session is not None:
            self.events.setdefault(news.session.id, []).append(news.session.sequence)

    def _schedule(self, session_id: str, news: News) -> None:
        earlier = self._schedules.pop(session_id, None)
        if earlier is not None:
            earlier.cancel()
        if news.action == "PUBLISH" and news.due_time is not None:
            due = (news.due_time - START).total_seconds()
            self._schedules[session_id] = self._loop.call_at(due, self._fall_due, SessionId(session_id))

    def _fall_due(self, session_id: SessionId) -> None:
        self._schedules.pop(session_id, None)
        faults = self.faults
        if self._falls(faults.lost):
            return
        for _ in range(2 if self._falls(faults.doubled) else 1):
            late = faults.latest * self._draw() if self._falls(faults.late) else 0.2 * self._draw()
            self._loop.call_later(late, self._deliver, session_id, 1)

    def _deliver(self, session_id: SessionId, deliveries: int) -> None:
        there = [consumer for consumer in self.consumers if consumer.process.alive and not consumer.process.paused]
        if self.faults.down or not there:
            self._loop.call_later(_NOBODY_THERE, self._deliver, session_id, deliveries)
            return
        consumer = there[int(self._draw() * len(there))]
        again = self._loop.call_later(_ACK_WAIT, self._deliver, session_id, deliveries + 1)
        _ = consumer.process.spawn(self._process(consumer, session_id, deliveries, again))

    async def _process(
        self, consumer: Consumer, session_id: SessionId, deliveries: int, again: asyncio.TimerHandle
    ) -> None:
        verdict = await consumer.handle(session_id, deliveries)
        await consumer.process.step()
        if self._falls(self.faults.ack_lost):
            return
        again.cancel()
        if verdict.outcome is Outcome.RETRY:
            self._loop.call_later(verdict.delay.total_seconds(), self._deliver, session_id, deliveries + 1)

    def _falls(self, share: float) -> bool:
        return share > 0.0 and self._draw() < share
