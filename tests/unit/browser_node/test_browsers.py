import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from browser_node.domain.browser import Assignment, BrowserEnd, CloseReason, RunningBrowser, SessionId
from browser_node.domain.errors import (
    BrowserNotFound,
    BrowserStartFailed,
    NodeDraining,
    NodeFull,
    SessionNotOpen,
    StaleEpoch,
)
from browser_node.usecases.browsers import Browsers
from tests.support.node_fakes import FACTS, SESSION, FakeLauncher, SteppedClock, an_order
from tests.support.waiting import until

OTHER = SessionId("pbs_" + "1" * 26)


@pytest.fixture
def launcher() -> FakeLauncher:
    return FakeLauncher()


@pytest.fixture
def clock() -> SteppedClock:
    return SteppedClock()


@pytest.fixture
async def browsers(launcher: FakeLauncher, clock: SteppedClock) -> AsyncIterator[Browsers]:
    browsers = Browsers(launcher=launcher, clock=clock, slots=2, parallel_starts=1)
    async with browsers.hosting():
        yield browsers


async def test_starting_twice_for_one_epoch_starts_one_browser(browsers: Browsers, launcher: FakeLauncher) -> None:
    launcher.hold = asyncio.Event()
    both = asyncio.gather(browsers.start(an_order()), browsers.start(an_order()))
    await until(lambda: launcher.at_once == 1)
    launcher.hold.set()

    assert list(await both) == [FACTS, FACTS]
    assert await browsers.start(an_order()) == FACTS
    assert len(launcher.launched) == 1


async def test_a_node_takes_no_more_than_its_slots(browsers: Browsers) -> None:
    await browsers.start(an_order())
    await browsers.start(an_order(session_id=OTHER))

    with pytest.raises(NodeFull):
        await browsers.start(an_order(session_id=SessionId("pbs_" + "2" * 26)))


async def test_a_slot_is_free_after_a_stop(browsers: Browsers, launcher: FakeLauncher) -> None:
    for epoch in range(1, 6):
        await browsers.start(an_order(epoch=epoch))
        await browsers.stop(SESSION, epoch, CloseReason.USER_REQUESTED)
    await browsers.wait_empty()

    assert browsers.running() == []
    assert browsers.unreported() == []
    assert [browser.closed_with for _, browser in launcher.launched] == [BrowserEnd(CloseReason.USER_REQUESTED)] * 5


async def test_control_is_told_at_once_and_repeated_by_heartbeats(
    browsers: Browsers, launcher: FakeLauncher, clock: SteppedClock
) -> None:
    await browsers.start(an_order())
    (_, browser), reported = launcher.launched[0], browsers.running()
    clock.step(timedelta(seconds=1))
    browsers.set_control(SESSION, 1, 4, held=True)

    # Sent before the call: it does not know of it.
    for generation, sent in ((0, clock.monotonic() - 0.5), (5, clock.monotonic()), (0, clock.monotonic() + 1)):
        assignment = Assignment(SESSION, 1, timedelta(minutes=5), control_generation=generation)
        browsers.apply(reported, [assignment], sent=sent)

    assert browser.control == [(4, True), (5, True), (0, False)]


async def test_control_of_what_does_not_run_here_is_refused(browsers: Browsers) -> None:
    with pytest.raises(BrowserNotFound):
        browsers.set_control(SESSION, 1, 1, held=True)
    await browsers.start(an_order(epoch=2))
    with pytest.raises(StaleEpoch):
        browsers.set_control(SESSION, 1, 1, held=True)


async def test_viewers_are_reported(browsers: Browsers, launcher: FakeLauncher) -> None:
    await browsers.start(an_order())
    launcher.launched[0][1].viewer_count = 3

    assert [browser.viewer_count for browser in browsers.running()] == [3]


async def test_a_stop_does_not_wait_for_what_is_left_and_nobody_uses_it_any_more(
    browsers: Browsers, launcher: FakeLauncher
) -> None:
    await browsers.start(an_order())
    [(_, browser)] = launcher.launched
    browser.closing = asyncio.Event()

    await browsers.stop(SESSION, 1, CloseReason.USER_REQUESTED)

    assert browser.dismissed_with == BrowserEnd(CloseReason.USER_REQUESTED)
    with pytest.raises(SessionNotOpen):
        browsers.find(SESSION, 1)
    with pytest.raises(BrowserStartFailed):
        await browsers.start(an_order())
    browser.closing.set()


async def test_a_start_waits_for_the_place_of_a_browser_that_is_ending(
    browsers: Browsers, launcher: FakeLauncher
) -> None:
    await browsers.start(an_order())
    await browsers.start(an_order(session_id=OTHER))
    ending = launcher.launched[0][1]
    ending.closing = asyncio.Event()
    await browsers.stop(SESSION, 1, CloseReason.USER_REQUESTED)

    start = asyncio.create_task(browsers.start(an_order(session_id=SessionId("pbs_" + "2" * 26))))
    refused = asyncio.create_task(browsers.start(an_order(session_id=SessionId("pbs_" + "3" * 26))))
    await until(lambda: ending.closed_with is not None)
    # Never more browsers than places, whatever was answered already.
    assert len(launcher.launched) == 2
    assert not start.done()
    ending.closing.set()

    assert await start == FACTS
    with pytest.raises(NodeFull):
        await refused


async def test_a_node_without_disk_starts_nothing(browsers: Browsers) -> None:
    browsers.crowded = True

    with pytest.raises(NodeDraining):
        await browsers.start(an_order())


async def test_an_older_epoch_is_refused(browsers: Browsers) -> None:
    await browsers.start(an_order(epoch=5))
    await browsers.stop(SESSION, 5, CloseReason.USER_REQUESTED)

    with pytest.raises(StaleEpoch):
        await browsers.start(an_order(epoch=4))


async def test_an_allocation_that_has_ended_is_not_started_again(browsers: Browsers) -> None:
    await browsers.start(an_order())
    await browsers.stop(SESSION, 1, CloseReason.USER_REQUESTED)

    with pytest.raises(BrowserStartFailed):
        await browsers.start(an_order())


async def test_a_newer_epoch_takes_the_place_of_the_older(browsers: Browsers, launcher: FakeLauncher) -> None:
    await browsers.start(an_order(epoch=1))
    await browsers.start(an_order(epoch=2))

    assert launcher.launched[0][1].closed_with is not None
    assert [browser.epoch for browser in browsers.running()] == [2]


async def test_stopping_an_older_epoch_leaves_the_newer_alone(browsers: Browsers) -> None:
    await browsers.start(an_order(epoch=2))

    await browsers.stop(SESSION, 1, CloseReason.USER_REQUESTED)

    assert len(browsers.running()) == 1


async def test_of_a_burst_of_starts_no_more_than_the_limit_launch_at_once(clock: SteppedClock) -> None:
    launcher = FakeLauncher()
    launcher.hold = asyncio.Event()
    browsers = Browsers(launcher=launcher, clock=clock, slots=6, parallel_starts=2)
    async with browsers.hosting():
        orders = [an_order(session_id=SessionId(f"pbs_{number:026}")) for number in range(6)]
        starts = asyncio.gather(*(browsers.start(order) for order in orders))
        await until(lambda: len(browsers.running()) == 6 and launcher.at_once == 2)
        launcher.hold.set()

        await starts

    assert launcher.most_at_once == 2
    assert len(launcher.launched) == 6


async def test_a_start_that_waits_in_line_is_not_being_launched(browsers: Browsers, launcher: FakeLauncher) -> None:
    # A launcher bounds each launch: what is not with it yet has all of its time before it.
    launcher.hold = asyncio.Event()
    first = asyncio.create_task(browsers.start(an_order()))
    await until(lambda: launcher.at_once == 1)
    second = asyncio.create_task(browsers.start(an_order(session_id=OTHER)))
    await until(lambda: len(browsers.running()) == 2)
    assert launcher.asked_for == [SESSION]

    launcher.hold.set()

    await asyncio.gather(first, second)
    assert launcher.asked_for == [SESSION, OTHER]


async def test_a_start_that_is_stopped_in_line_is_never_launched(browsers: Browsers, launcher: FakeLauncher) -> None:
    launcher.hold = asyncio.Event()
    first = asyncio.create_task(browsers.start(an_order()))
    await until(lambda: launcher.at_once == 1)
    second = asyncio.create_task(browsers.start(an_order(session_id=OTHER)))
    await until(lambda: len(browsers.running()) == 2)

    await browsers.stop(OTHER, 1, CloseReason.USER_REQUESTED)
    launcher.hold.set()

    with pytest.raises(BrowserStartFailed):
        await second
    await first
    assert launcher.asked_for == [SESSION]


async def test_a_start_goes_on_when_its_caller_is_gone(browsers: Browsers, launcher: FakeLauncher) -> None:
    launcher.hold = asyncio.Event()
    call = asyncio.create_task(browsers.start(an_order()))
    await until(lambda: launcher.at_once == 1)
    call.cancel()
    await asyncio.wait({call})
    launcher.hold.set()

    assert await browsers.start(an_order()) == FACTS
    assert len(launcher.launched) == 1


async def test_a_failed_start_gives_its_slot_back(browsers: Browsers, launcher: FakeLauncher) -> None:
    launcher.error = BrowserStartFailed("no")
    for session in (SESSION, OTHER, SessionId("pbs_" + "2" * 26)):
        with pytest.raises(BrowserStartFailed):
            await browsers.start(an_order(session_id=session))

    assert browsers.running() == []


async def test_a_stop_while_the_browser_starts_ends_the_start(browsers: Browsers, launcher: FakeLauncher) -> None:
    launcher.hold = asyncio.Event()
    call = asyncio.create_task(browsers.start(an_order()))
    await until(lambda: launcher.at_once)

    await browsers.stop(SESSION, 1, CloseReason.USER_REQUESTED)

    with pytest.raises(BrowserStartFailed):
        await call
    assert launcher.cancelled == 1


async def test_a_browser_past_its_deadline_and_grace_ends_as_timed_out(
    browsers: Browsers, launcher: FakeLauncher, clock: SteppedClock
) -> None:
    await browsers.start(an_order(remaining=timedelta(seconds=10)))
    clock.step(timedelta(seconds=11))
    await browsers.enforce_deadlines()
    assert browsers.unreported() == []
    clock.step(timedelta(seconds=2))

    await browsers.enforce_deadlines()

    assert [ended.end.reason for ended in browsers.unreported()] == [CloseReason.TIMED_OUT]
    await browsers.wait_empty()
    closed_with = launcher.launched[0][1].closed_with
    assert closed_with is not None
    assert closed_with.reason is CloseReason.TIMED_OUT


async def test_a_deadline_can_be_moved(browsers: Browsers, clock: SteppedClock) -> None:
    await browsers.start(an_order(remaining=timedelta(seconds=10)))
    browsers.set_deadline(SESSION, 1, timedelta(seconds=60))
    clock.step(timedelta(seconds=30))

    await browsers.enforce_deadlines()

    assert len(browsers.running()) == 1
    with pytest.raises(BrowserNotFound):
        browsers.set_deadline(OTHER, 1, timedelta(seconds=60))
    with pytest.raises(StaleEpoch):
        browsers.set_deadline(SESSION, 0, timedelta(seconds=60))


async def test_a_crash_is_reported_at_once_and_until_it_was_heard(browsers: Browsers, launcher: FakeLauncher) -> None:
    await browsers.start(an_order())
    launcher.launched[0][1].crash.set_result(BrowserEnd(CloseReason.BROWSER_CRASHED, "gone"))

    await asyncio.wait_for(browsers.news.wait(), 5)

    ended = browsers.unreported()
    assert [(browser.session_id, browser.epoch) for browser in ended] == [(SESSION, 1)]
    assert browsers.running() == []
    browsers.reported(ended)
    assert browsers.unreported() == []


async def test_a_browser_that_is_not_assigned_any_more_is_stopped(browsers: Browsers, clock: SteppedClock) -> None:
    await browsers.start(an_order())
    await browsers.start(an_order(session_id=OTHER))
    reported = browsers.running()

    browsers.apply(reported, [Assignment(OTHER, 1, timedelta(minutes=1))], sent=clock.monotonic())

    assert [browser.session_id for browser in browsers.running()] == [OTHER]
    assert browsers.unreported() == []


async def test_a_browser_that_started_after_the_report_stays(browsers: Browsers, clock: SteppedClock) -> None:
    reported = browsers.running()
    await browsers.start(an_order())

    browsers.apply(reported, [], sent=clock.monotonic())

    assert len(browsers.running()) == 1


async def test_an_assignment_moves_the_deadline(browsers: Browsers, clock: SteppedClock) -> None:
    await browsers.start(an_order(remaining=timedelta(seconds=10)))
    browsers.apply(browsers.running(), [Assignment(SESSION, 1, timedelta(seconds=60))], sent=clock.monotonic())
    clock.step(timedelta(seconds=30))

    await browsers.enforce_deadlines()

    assert len(browsers.running()) == 1


async def test_an_answer_that_is_older_than_an_extension_does_not_move_the_deadline_back(
    browsers: Browsers, clock: SteppedClock
) -> None:
    await browsers.start(an_order(remaining=timedelta(seconds=10)))
    clock.step(timedelta(seconds=1))
    reported, sent = browsers.running(), clock.monotonic()
    clock.step(timedelta(seconds=1))
    browsers.set_deadline(SESSION, 1, timedelta(seconds=60))
    browsers.apply(reported, [Assignment(SESSION, 1, timedelta(seconds=8))], sent=sent)
    clock.step(timedelta(seconds=30))

    await browsers.enforce_deadlines()

    assert len(browsers.running()) == 1


async def test_a_draining_node_starts_nothing(browsers: Browsers) -> None:
    browsers.draining = True

    with pytest.raises(NodeDraining):
        await browsers.start(an_order())


async def test_a_report_says_how_long_each_browser_idles(browsers: Browsers, launcher: FakeLauncher) -> None:
    await browsers.start(an_order())
    launcher.launched[0][1].input_idle = timedelta(seconds=7)
    launcher.hold = asyncio.Event()
    starting = asyncio.create_task(browsers.start(an_order(session_id=OTHER)))
    await until(lambda: launcher.at_once == 1)

    reported = browsers.running()

    assert reported == [RunningBrowser(SESSION, 1, input_idle=timedelta(seconds=7)), RunningBrowser(OTHER, 1)]
    launcher.hold.set()
    await starting


async def test_nothing_starts_while_browsers_are_evicted(browsers: Browsers, launcher: FakeLauncher) -> None:
    await browsers.start(an_order())
    last = launcher.launched[0][1]
    last.closing = asyncio.Event()
    eviction = asyncio.create_task(browsers.evict(BrowserEnd(CloseReason.NODE_LOST)))
    await until(lambda: last.closed_with is not None)

    with pytest.raises(NodeDraining):
        await browsers.start(an_order(session_id=OTHER))

    last.closing.set()
    await eviction
    assert await browsers.start(an_order(session_id=OTHER)) == FACTS


async def test_clients_are_told_whether_a_session_never_was_or_has_ended(browsers: Browsers) -> None:
    with pytest.raises(BrowserNotFound):
        browsers.find(SESSION, 1)
    await browsers.start(an_order(epoch=2))
    assert browsers.find(SESSION, 2).facts == FACTS
    with pytest.raises(StaleEpoch):
        browsers.find(SESSION, 1)
    with pytest.raises(BrowserNotFound):
        browsers.find(SESSION, 3)
    await browsers.stop(SESSION, 2, CloseReason.TIMED_OUT)
    with pytest.raises(SessionNotOpen, match="TIMED_OUT"):
        browsers.find(SESSION, 2)
