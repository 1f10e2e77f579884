"""How a service process lives."""

import asyncio
from datetime import timedelta

import pytest

from fleetkit.lifecycle import OwnedTasks, Stop, background, every
from tests.support.waiting import until

_AT_ONCE = timedelta(0)
_NEVER = timedelta(days=1)


async def _forever() -> None:
    await asyncio.Event().wait()


async def _crash() -> None:
    raise ZeroDivisionError


async def test_a_loop_that_crashes_ends_the_block_with_its_error() -> None:
    async def block() -> None:
        async with background(_forever(), _crash()):
            await _forever()

    with pytest.raises(ExceptionGroup) as failure:
        await asyncio.wait_for(block(), 5)
    assert failure.group_contains(ZeroDivisionError)


async def test_loops_end_with_their_block() -> None:
    begun, ended = asyncio.Event(), asyncio.Event()

    async def loop() -> None:
        begun.set()
        try:
            await _forever()
        finally:
            ended.set()

    async with background(loop()):
        await begun.wait()
    assert ended.is_set()


async def test_a_pass_that_fails_does_not_end_the_repetition() -> None:
    passes = 0

    async def sweep() -> None:
        nonlocal passes
        passes += 1
        if passes < 3:
            raise ZeroDivisionError

    async with background(every(_AT_ONCE, sweep)):
        await until(lambda: passes > 3)


async def test_the_first_pass_is_now_and_a_wake_begins_the_next() -> None:
    wake, passes = asyncio.Event(), 0

    async def sweep() -> None:
        nonlocal passes
        passes += 1

    async with background(every(_NEVER, sweep, wake=wake)):
        await until(lambda: passes == 1)
        wake.set()
        await until(lambda: passes == 2)
        assert not wake.is_set()


async def test_owned_work_goes_on_when_its_caller_is_cancelled() -> None:
    begun, go, done = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def work() -> None:
        begun.set()
        await go.wait()
        done.set()

    async with OwnedTasks() as tasks:
        caller = asyncio.create_task(tasks.finish(work()))
        await begun.wait()
        caller.cancel()
        with pytest.raises(asyncio.CancelledError):
            await caller
        go.set()
    assert done.is_set()


async def test_the_end_of_the_block_waits_for_work_that_work_began() -> None:
    done = asyncio.Event()

    async with OwnedTasks() as tasks:

        async def second() -> None:
            await asyncio.sleep(0)
            done.set()

        async def first() -> None:
            await asyncio.sleep(0)
            _ = tasks.start(second())

        _ = tasks.start(first())
    assert done.is_set()


async def test_work_that_outlasts_the_grace_is_cancelled() -> None:
    async with OwnedTasks(grace=timedelta(milliseconds=10)) as tasks:
        late = tasks.start(_forever())
    assert late.cancelled()


async def test_a_failure_that_nobody_awaits_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async with OwnedTasks() as tasks:
        _ = tasks.start(_crash())
    assert [record.message for record in caplog.records] == ["owned work failed"]


async def test_a_failure_reaches_whoever_waits() -> None:
    async with OwnedTasks() as tasks:
        with pytest.raises(ZeroDivisionError):
            await tasks.finish(_crash())


def test_the_second_signal_means_at_once() -> None:
    stop = Stop()
    stop.signalled()
    assert (stop.is_set(), stop.at_once.is_set()) == (True, False)

    stop.signalled()

    assert stop.at_once.is_set()
