import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from browser_node.adapters.chromium.launch.pool import WarmPool
from tests.support.node_fakes import SteppedClock
from tests.support.waiting import until


class FakeSpare:
    """A browser without a browser; `well` says whether it answers, `hold` keeps its answer back."""

    def __init__(self) -> None:
        self.gone = asyncio.Event()
        self.well = True
        self.hold: asyncio.Event | None = None
        self.discarded = False

    async def answers(self) -> bool:
        if self.hold is not None:
            await self.hold.wait()
        return self.well

    async def discard(self) -> None:
        self.discarded = True


class Yard:
    """Makes spares when a test lets it; every one is remembered."""

    def __init__(self) -> None:
        self.made: list[FakeSpare] = []
        self.hold: asyncio.Event | None = None
        self.broken = False
        self.room = 100
        self.at_once = 0
        self.most_at_once = 0
        self.begun = 0

    async def start(self) -> FakeSpare:
        self.begun += 1
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            if self.hold is not None:
                await self.hold.wait()
        finally:
            self.at_once -= 1
        if self.broken:
            raise OSError("it does not come up")
        self.made.append(FakeSpare())
        return self.made[-1]


@pytest.fixture
def clock() -> SteppedClock:
    return SteppedClock()


@pytest.fixture
def yard() -> Yard:
    return Yard()


def a_pool(yard: Yard, clock: SteppedClock, *, size: int = 2, parallel_starts: int = 1) -> WarmPool[FakeSpare]:
    return WarmPool(
        start=yard.start,
        room=lambda occupied: yard.room,
        clock=clock,
        size=size,
        parallel_starts=parallel_starts,
    )


@pytest.fixture
async def pool(yard: Yard, clock: SteppedClock) -> AsyncIterator[WarmPool[FakeSpare]]:
    pool = a_pool(yard, clock)
    async with pool.open():
        yield pool


async def filled(pool: WarmPool[FakeSpare], count: int) -> None:
    """Tend until so many stand ready, and no more come."""
    async with asyncio.timeout(10):
        while pool.count < count:
            await pool.tend()
            await asyncio.sleep(0)
    await pool.tend()


async def test_it_fills_up_to_its_size_and_no_further(pool: WarmPool[FakeSpare], yard: Yard) -> None:
    await filled(pool, 2)
    await asyncio.sleep(0)

    assert (pool.count, pool.occupied, yard.begun) == (2, 2, 2)


async def test_starts_are_bounded(yard: Yard, clock: SteppedClock) -> None:
    yard.hold = asyncio.Event()
    pool = a_pool(yard, clock, size=5, parallel_starts=2)
    async with pool.open():
        for _ in range(5):
            await pool.tend()
            await asyncio.sleep(0)
        assert yard.at_once == 2
        yard.hold.set()
        await filled(pool, 5)
    assert yard.most_at_once == 2


async def test_one_browser_is_given_to_one_session(pool: WarmPool[FakeSpare]) -> None:
    await filled(pool, 2)

    first, second = await asyncio.gather(pool.take(), pool.take())

    assert first is not None
    assert second is not None
    assert first.stood_ready
    assert first.spare is not second.spare
    assert pool.count == 0
    assert await pool.take() is None


async def test_what_is_dead_or_hangs_is_passed_over(pool: WarmPool[FakeSpare], yard: Yard) -> None:
    await filled(pool, 2)
    yard.made[0].well = False

    taken = await pool.take()

    assert taken is not None
    assert taken.spare is yard.made[1]
    await until(lambda: yard.made[0].discarded)


async def test_a_browser_that_died_while_it_waited_is_replaced(pool: WarmPool[FakeSpare], yard: Yard) -> None:
    await filled(pool, 2)
    yard.made[0].gone.set()

    await pool.tend()
    await filled(pool, 2)

    assert yard.made[0].discarded
    assert len(yard.made) == 3


async def test_an_old_browser_is_replaced(pool: WarmPool[FakeSpare], yard: Yard, clock: SteppedClock) -> None:
    await filled(pool, 2)
    clock.step(timedelta(minutes=16))

    await pool.tend()
    await filled(pool, 2)

    assert [spare.discarded for spare in yard.made] == [True, True, False, False]


async def test_a_session_that_was_just_served_has_the_machine_for_itself_first(
    pool: WarmPool[FakeSpare], yard: Yard, clock: SteppedClock
) -> None:
    await filled(pool, 2)
    await pool.take()

    await pool.tend()
    assert yard.begun == 2
    clock.step(timedelta(milliseconds=600))
    await pool.tend()
    assert pool.occupied == 2


async def test_takes_one_after_the_other_do_not_put_the_filling_off_for_ever(
    pool: WarmPool[FakeSpare], yard: Yard, clock: SteppedClock
) -> None:
    await filled(pool, 2)
    for _ in range(6):
        await pool.take()
        await pool.tend()
        await asyncio.sleep(0)
        clock.step(timedelta(milliseconds=150))

    assert yard.begun > 2


async def test_as_many_stand_ready_as_were_lately_asked_for(
    pool: WarmPool[FakeSpare], yard: Yard, clock: SteppedClock
) -> None:
    await filled(pool, 2)
    for _ in range(9):
        await pool.take()
    clock.step(timedelta(seconds=1))

    # Twice the size at most.
    await filled(pool, 4)
    assert pool.occupied == 4

    clock.step(timedelta(minutes=16))
    await pool.tend()
    await filled(pool, 2)
    assert pool.occupied == 2


async def test_sessions_come_first_in_the_nodes_room(
    pool: WarmPool[FakeSpare], yard: Yard, clock: SteppedClock
) -> None:
    await filled(pool, 2)
    yard.room = 1
    await pool.tend()
    assert pool.count == 1
    await until(lambda: yard.made[0].discarded)

    yard.room = 0
    await pool.tend()
    await pool.tend()
    assert (pool.count, yard.begun) == (0, 2)


async def test_no_start_begins_while_a_sessions_own_browser_starts(pool: WarmPool[FakeSpare], yard: Yard) -> None:
    with pool.standing_back():
        await pool.tend()
        assert yard.begun == 0
        assert pool.occupied == 0
    assert pool.news.is_set()

    await filled(pool, 2)


async def test_a_session_takes_over_a_start_that_is_under_way(pool: WarmPool[FakeSpare], yard: Yard) -> None:
    yard.hold = asyncio.Event()
    await pool.tend()
    waiting = asyncio.create_task(pool.take())
    await asyncio.sleep(0)
    assert await pool.take() is None

    yard.hold.set()

    taken = await waiting
    assert taken is not None
    assert not taken.stood_ready
    assert pool.count == 0


async def test_a_start_that_nobody_waits_for_any_more_goes_into_the_pool(pool: WarmPool[FakeSpare], yard: Yard) -> None:
    yard.hold = asyncio.Event()
    await pool.tend()
    waiting = asyncio.create_task(pool.take())
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait({waiting})

    yard.hold.set()

    await until(lambda: pool.count == 1)
    assert not yard.made[0].discarded


async def test_a_browser_that_comes_up_as_its_session_leaves_is_not_lost(pool: WarmPool[FakeSpare], yard: Yard) -> None:
    yard.hold = asyncio.Event()
    await pool.tend()
    waiting = asyncio.create_task(pool.take())
    await asyncio.sleep(0)
    yard.hold.set()
    # Step by step: it is given away before the session has been told.
    while not yard.made:  # noqa: ASYNC110  # tells nobody
        await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait({waiting})

    assert waiting.cancelled()
    await until(lambda: yard.made[0].discarded)


async def test_a_browser_whose_session_leaves_during_the_look_at_it_is_not_reused(
    pool: WarmPool[FakeSpare], yard: Yard
) -> None:
    await filled(pool, 2)
    yard.made[0].hold = asyncio.Event()
    taking = asyncio.create_task(pool.take())
    await asyncio.sleep(0)

    taking.cancel()
    await asyncio.wait({taking})

    await until(lambda: yard.made[0].discarded)
    assert pool.count == 1


async def test_a_start_that_fails_is_tried_again_after_a_growing_pause(
    pool: WarmPool[FakeSpare], yard: Yard, clock: SteppedClock
) -> None:
    yard.broken = True
    tries = []
    for _ in range(600):
        await pool.tend()
        await asyncio.sleep(0)
        clock.step(timedelta(milliseconds=250))
        tries.append(yard.begun)

    # 1, 3, 7, 15, 31, 63 and 123 seconds after the first one.
    assert tries[-1] == 8
    yard.broken = False
    clock.step(timedelta(minutes=1))
    await filled(pool, 2)


async def test_a_session_that_waits_for_a_start_that_fails_is_told(pool: WarmPool[FakeSpare], yard: Yard) -> None:
    yard.hold, yard.broken = asyncio.Event(), True
    await pool.tend()
    waiting = asyncio.create_task(pool.take())
    await asyncio.sleep(0)

    yard.hold.set()

    assert await waiting is None


async def test_nothing_is_left_at_the_end(yard: Yard, clock: SteppedClock) -> None:
    pool = a_pool(yard, clock, size=3)
    async with pool.open():
        await filled(pool, 2)
        yard.hold = asyncio.Event()
        await pool.tend()
        waiting = [asyncio.create_task(pool.take()) for _ in range(3)]
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    assert [None if taken is None else taken.spare for taken in await asyncio.gather(*waiting)] == [*yard.made, None]
    assert (pool.count, pool.occupied, yard.at_once) == (0, 0, 0)
    assert await pool.take() is None
    await pool.tend()
    assert yard.begun == 3


async def test_what_stands_ready_at_the_end_is_discarded(yard: Yard, clock: SteppedClock) -> None:
    pool = a_pool(yard, clock)
    async with pool.open():
        await filled(pool, 2)

    assert all(spare.discarded for spare in yard.made)


async def test_a_session_does_not_wait_for_a_start_that_the_end_forestalls(yard: Yard, clock: SteppedClock) -> None:
    pool = a_pool(yard, clock)
    waiting: asyncio.Task[object]
    async with pool.open():
        taken = pool.take()
        await pool.tend()
        # Neither the start nor the wait for it has made a step when the block ends.
        waiting = asyncio.create_task(taken)

    async with asyncio.timeout(10):
        assert await waiting is None


async def test_a_pool_of_no_size_starts_nothing(yard: Yard, clock: SteppedClock) -> None:
    pool = a_pool(yard, clock, size=0)
    async with pool.open():
        for _ in range(5):
            assert await pool.take() is None
            clock.step(timedelta(seconds=1))
            await pool.tend()

    assert yard.begun == 0
