"""How a service process lives: signals, background loops, and an end in order."""

import asyncio
import contextlib
import logging
import random
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from datetime import timedelta
from typing import Never, Self, TypeVar

import uvloop

from fleetkit import telemetry
from fleetkit.errors import FleetError
from fleetkit.settings import SettingsError

log = logging.getLogger(__name__)

T = TypeVar("T")

_ASK_AGAIN_SECONDS = 5.0

# sysexits.h: the configuration is wrong.
EX_CONFIG = 78


class Stop(asyncio.Event):
    """Set by the first signal that tells a service to stop; the second sets `at_once`."""

    def __init__(self) -> None:
        super().__init__()
        self.at_once = asyncio.Event()

    def signalled(self) -> None:
        if self.is_set():
            self.at_once.set()
        self.set()


def run_service(name: str, main: Callable[[Stop], Coroutine[object, object, None]]) -> None:
    """Run `main` on uvloop until it returns; SIGTERM and SIGINT set the event that it is given.

    Exits the process with 0 after an orderly end, 78 when settings are wrong, 1 when `main` raised.
    """
    telemetry.configure(name)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_until_signalled(main))
    except SettingsError as error:
        print(error, file=sys.stderr)  # noqa: T201  # before anything else runs; a person reads this
        sys.exit(EX_CONFIG)
    except Exception:
        log.exception("%s failed", name)
        sys.exit(1)
    finally:
        telemetry.shutdown()


async def _until_signalled(main: Callable[[Stop], Coroutine[object, object, None]]) -> None:
    stop = Stop()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.signalled)
    await main(stop)


@contextlib.asynccontextmanager
async def background(*coroutines: Coroutine[object, object, object]) -> AsyncIterator[None]:
    """Run loops beside the block; cancel them at its end. A loop that raises ends the block with its error."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(coroutine) for coroutine in coroutines]
        try:
            yield
        finally:
            await _cancel(set(tasks))


async def _cancel(running: set[asyncio.Task[object]]) -> None:
    while running:
        for task in running:
            task.cancel()
        # `wait_for`, which libraries use, loses a cancellation that comes together with its result: ask again.
        _, running = await asyncio.wait(running, timeout=_ASK_AGAIN_SECONDS)


async def every(
    interval: timedelta,
    action: Callable[[], Awaitable[object]],
    *,
    jitter: float = 0.1,
    wake: asyncio.Event | None = None,
) -> Never:
    """Run `action` now and then again each `interval`, give or take the share `jitter`.

    A pass that fails is logged and the next one comes in its time. Setting `wake` begins the next pass at once.
    """
    while True:
        try:
            await action()
        except Exception:
            log.exception("a pass of %s failed", getattr(action, "__qualname__", action))
        pause = interval.total_seconds() * random.uniform(1 - jitter, 1 + jitter)  # noqa: S311  # spreads load
        if wake is None:
            await asyncio.sleep(pause)
            continue
        # Not wait_for: before Python 3.12 it forgets a cancellation that comes together with the event.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(pause):
                await wake.wait()
        wake.clear()


class OwnedTasks:
    """Work that goes on when the call that began it is gone.

    Used as a block: at its end running work gets `grace` to finish and is then cancelled.
    """

    def __init__(self, *, grace: timedelta = timedelta(seconds=10)) -> None:
        self._grace = grace
        self._tasks: set[asyncio.Task[object]] = set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        end = asyncio.get_running_loop().time() + self._grace.total_seconds()
        # Work may begin more work.
        while self._tasks and (left := end - asyncio.get_running_loop().time()) > 0:
            await asyncio.wait(self._tasks, timeout=left, return_when=asyncio.FIRST_COMPLETED)
        while self._tasks:
            late = list(self._tasks)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    def start(self, work: Coroutine[object, object, T]) -> asyncio.Task[T]:
        """Run `work` to its end; a failure that nobody awaits is logged."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    async def finish(self, work: Coroutine[object, object, T]) -> T:
        """Run `work` to its end and return its result; when the caller is cancelled, it goes on without them."""
        return await asyncio.shield(self.start(work))

    def _ended(self, task: asyncio.Task[T]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None and not isinstance(error, FleetError):
            log.error("owned work failed", exc_info=error)
