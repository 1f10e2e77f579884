"""A process of the simulation: one life, which ends at once and takes everything with it."""

import asyncio
from collections.abc import Callable, Coroutine
from contextvars import ContextVar, copy_context
from typing import TypeVar

from fleetkit.errors import FleetError
from tests.simulation.loop import VirtualLoop

T = TypeVar("T")

_OWNER: ContextVar["Process | None"] = ContextVar("owner", default=None)
_PRUNE_FROM = 64


def adopt(task: asyncio.Task[object]) -> None:
    """Have a task belong to the process that made it."""
    owner = _OWNER.get()
    if owner is not None:
        owner.adopt(task)


class Host:
    """Where a process runs: its connection to the rest. Mute: nothing leaves it. Deaf: nothing reaches it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.mute = False
        self.deaf = False


class Process:
    """One life. Whatever it runs is cancelled when it dies, and what it asks of the world after that never happens.

    `on_fault` hears of errors that are nobody's answer: faults of the code under test.
    """

    def __init__(self, loop: VirtualLoop, host: Host, on_fault: Callable[[str, BaseException], None]) -> None:
        self.host = host
        self.alive = True
        self._loop = loop
        self._on_fault = on_fault
        self._tasks: list[asyncio.Task[object]] = []
        self._resumed: asyncio.Event | None = None
        # Calls of the world until the process dies in one of them.
        self._steps_left: int | None = None
        # Whether a step would do nothing: then it is spared.
        self.is_steady = True
        self.on_death: list[Callable[[], None]] = []
        self._context = copy_context()
        self._context.run(_OWNER.set, self)

    @property
    def name(self) -> str:
        return self.host.name

    @property
    def paused(self) -> bool:
        return self._resumed is not None

    def adopt(self, task: asyncio.Task[object]) -> None:
        if len(self._tasks) > _PRUNE_FROM:
            self._tasks = [known for known in self._tasks if not known.done()]
        self._tasks.append(task)
        if not self.alive:
            task.cancel()

    def spawn(self, work: Coroutine[object, object, T]) -> asyncio.Task[T]:
        """Run something in this process. It is to raise FleetErrors only."""
        task = self._context.run(self._loop.create_task, work)
        task.add_done_callback(self.judge)
        return task

    def judge(self, task: asyncio.Task[T]) -> None:
        """Report a task that failed with anything but a FleetError."""
        error = None if task.cancelled() else task.exception()
        if error is not None and not isinstance(error, FleetError):
            self._on_fault(self.name, error)

    def die(self) -> None:
        if not self.alive:
            return
        self.alive = self.is_steady = False
        self._resumed = None
        for task in self._tasks:
            task.cancel()
        for hear in self.on_death:
            hear()

    def pause(self) -> None:
        """SIGSTOP."""
        self._resumed = self._resumed or asyncio.Event()
        self.is_steady = False

    def resume(self) -> None:
        if self._resumed is not None:
            self._resumed.set()
            self._resumed = None
            self._calm_down()

    def die_after(self, steps: int) -> None:
        """Die in the n-th call of the world from now on."""
        self._steps_left = steps
        self.is_steady = False

    def live_on(self) -> None:
        """Do not die in a call any more."""
        self._steps_left = None
        self._calm_down()

    async def step(self) -> None:
        """Pass a point at which the process may have been stopped or may die."""
        while self._resumed is not None:
            await self._resumed.wait()
        if self._steps_left is not None and self.alive:
            self._steps_left -= 1
            if self._steps_left <= 0:
                self.die()
        if not self.alive:
            raise asyncio.CancelledError

    def _calm_down(self) -> None:
        self.is_steady = self.alive and self._resumed is None and self._steps_left is None
