"""A driver as a process of its own, so that its cost is not counted as the services': orders in, answers out."""

import asyncio
import contextlib
import pickle
import sys
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import psutil
import uvloop

from local_stack.processes import Command, terminate

T = TypeVar("T")

_LENGTH_BYTES = 4
_STOP_TIMEOUT = timedelta(seconds=5)


class DriverFailed(Exception):
    """A driver could not do what it was asked; the message is its traceback."""


@dataclass(frozen=True, slots=True)
class _Failure:
    trace: str


class Driver:
    """The run's end of the pipe. One order at a time."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._free = asyncio.Lock()

    @property
    def process(self) -> psutil.Process:
        return psutil.Process(self._process.pid)

    async def ask(self, order: object, kind: type[T], *, within: timedelta = timedelta(seconds=120)) -> T:
        """Return the answer to an order. Raises DriverFailed, TimeoutError."""
        to_driver, from_driver = self._process.stdin, self._process.stdout
        if to_driver is None or from_driver is None:
            raise DriverFailed("the driver has no pipes")
        async with self._free, asyncio.timeout(within.total_seconds()):
            to_driver.write(_framed(order))
            await to_driver.drain()
            try:
                answer = await _received(from_driver)
            except asyncio.IncompleteReadError as error:
                raise DriverFailed(f"the driver ended while it did {order}") from error
        if isinstance(answer, _Failure):
            raise DriverFailed(answer.trace)
        if not isinstance(answer, kind):
            raise DriverFailed(f"{order} was answered with {answer!r}")
        return answer


@contextlib.asynccontextmanager
async def driver(module: str, *arguments: str) -> AsyncIterator[Driver]:
    """Run `python -m module` within the block; it ends with this process, whatever ends that."""
    command = Command(argv=(sys.executable, "-m", module, *arguments), stop_timeout=_STOP_TIMEOUT)
    process = await asyncio.create_subprocess_exec(
        *command.guarded(),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    try:
        yield Driver(process)
    finally:
        await terminate(process, command)


def run_driver(main: Callable[[Sequence[str]], Awaitable[None]]) -> None:
    """Run a driver's main on the loop that services run on, with the process's arguments."""

    async def run() -> None:
        await main(sys.argv[1:])

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run())


async def answer_orders(handle: Callable[[object], Awaitable[object]]) -> None:
    """The driver's end of the pipe: do one order after the other until the run is gone."""
    orders = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(orders), sys.stdin)
    while True:
        try:
            order = await _received(orders)
        except asyncio.IncompleteReadError:
            return
        try:
            answer = await handle(order)
        except Exception:
            answer = _Failure(traceback.format_exc())
        sys.stdout.buffer.write(_framed(answer))
        sys.stdout.buffer.flush()


def _framed(value: object) -> bytes:
    data = pickle.dumps(value)
    return len(data).to_bytes(_LENGTH_BYTES) + data


async def _received(stream: asyncio.StreamReader) -> object:
    length = int.from_bytes(await stream.readexactly(_LENGTH_BYTES))
    value: object = pickle.loads(await stream.readexactly(length))
    return value
