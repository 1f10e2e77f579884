"""The event loop and the processes that the simulation runs on."""

import asyncio
import random

import pytest

from fleetkit.errors import Unavailable
from tests.simulation.loop import Stalled, VirtualLoop
from tests.simulation.process import Host, Process, adopt


def a_loop(seed: int = 1) -> VirtualLoop:
    loop = VirtualLoop(random.Random(seed))
    loop.on_task = adopt
    return loop


def run(loop: VirtualLoop) -> None:
    """Run until there is nothing left to do."""
    with pytest.raises(Stalled):
        loop.run_forever()
    loop.close()


def test_the_clock_jumps_to_the_next_timer() -> None:
    loop, seen = a_loop(), list[int]()

    async def sleep() -> None:
        await asyncio.sleep(3600)
        seen.append(round(loop.time()))

    task = loop.create_task(sleep())
    run(loop)
    assert task.done()
    assert seen == [3600]


def test_what_is_ready_at_the_same_time_runs_in_an_order_that_the_seed_decides() -> None:
    orders = set()
    for seed in range(20):
        loop, order = a_loop(seed), list[int]()
        for number in range(3):
            loop.call_soon(order.append, number)
        run(loop)
        orders.add(tuple(order))
    assert len(orders) == 6


def test_a_cancelled_timer_does_not_fire() -> None:
    loop, fired = a_loop(), list[str]()
    loop.call_later(5, fired.append, "cancelled").cancel()
    loop.call_later(6, fired.append, "kept")
    run(loop)
    assert fired == ["kept"]


def test_a_wait_for_less_than_the_clock_can_tell_comes_to_an_end() -> None:
    loop = a_loop()

    async def wait() -> None:
        end = loop.time() + 1e-7
        while True:
            await asyncio.sleep(0)
            if loop.time() >= end:
                return

    task = loop.create_task(wait())
    run(loop)
    assert task.done()


def test_whatever_a_process_runs_ends_with_it() -> None:
    loop, done = a_loop(), list[str]()
    process = Process(loop, Host("a"), lambda *_: None)

    async def child() -> None:
        await asyncio.sleep(2)
        done.append("child")

    async def parent() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(child())
            await asyncio.sleep(2)
            done.append("parent")

    _ = process.spawn(parent())
    loop.call_later(1, process.die)
    run(loop)
    assert done == []


def test_a_paused_process_goes_on_where_it_was() -> None:
    loop, times = a_loop(), list[int]()
    process = Process(loop, Host("a"), lambda *_: None)

    async def work() -> None:
        await process.step()
        times.append(round(loop.time()))

    process.pause()
    _ = process.spawn(work())
    loop.call_later(30, process.resume)
    run(loop)
    assert times == [30]


def test_an_error_that_is_nobodys_answer_is_reported() -> None:
    loop, faults = a_loop(), list[str]()
    process = Process(loop, Host("a"), lambda name, error: faults.append(f"{name} {error}"))

    async def fail(error: Exception) -> None:
        raise error

    _ = process.spawn(fail(Unavailable("An answer.")))
    _ = process.spawn(fail(ValueError("a fault")))
    run(loop)
    assert faults == ["a a fault"]
