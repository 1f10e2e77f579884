import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from browser_node.domain.browser import Assignment, BrowserEnd, BrowserKind, CloseReason, InstalledBrowser
from browser_node.domain.errors import RegistrationEnded, SessionNotOpen
from browser_node.usecases.browsers import Browsers
from browser_node.usecases.membership import Membership
from browser_node.usecases.ports import NodeProfile, Pressure
from fleetkit.errors import Unavailable
from tests.support.node_fakes import (
    SESSION,
    FakeGateway,
    FakeKeys,
    FakeLauncher,
    FakeMachine,
    SteppedClock,
    an_order,
)
from tests.support.waiting import until

PROFILE = NodeProfile(
    name="node-1",
    address="127.0.0.1:1",
    attach_url="ws://127.0.0.1:2",
    slots=2,
    browsers=(InstalledBrowser(BrowserKind.CHROME, "Chrome/1"),),
)


class Node:
    def __init__(self) -> None:
        self.clock = SteppedClock()
        self.launcher = FakeLauncher()
        self.gateway = FakeGateway()
        self.keys = FakeKeys()
        self.machine = FakeMachine()
        self.browsers = Browsers(launcher=self.launcher, clock=self.clock, slots=2, parallel_starts=2)
        self.membership = Membership(
            browsers=self.browsers,
            machine=self.machine,
            gateway=self.gateway,
            profile=PROFILE,
            keys=self.keys,
            clock=self.clock,
        )


@pytest.fixture
async def node() -> AsyncIterator[Node]:
    node = Node()
    async with node.browsers.hosting():
        member = asyncio.create_task(node.membership.run())
        await until(lambda: bool(node.gateway.reports))
        yield node
        member.cancel()
        await asyncio.wait({member})


async def test_a_node_registers_and_trusts_the_key_that_it_is_given(node: Node) -> None:
    assert node.gateway.registrations == 1
    assert node.keys.trusted == [("pem", "nod_1")]


async def test_a_report_says_how_busy_the_machine_is_once_that_is_known(node: Node) -> None:
    assert node.gateway.reports[-1].pressure is None
    node.machine.pressure = Pressure(cpu=0.5, memory=0.25)
    node.browsers.news.set()

    await until(lambda: node.gateway.reports[-1].pressure is not None)

    assert node.gateway.reports[-1].pressure == Pressure(cpu=0.5, memory=0.25)


async def test_a_crash_is_told_at_once(node: Node) -> None:
    await node.browsers.start(an_order())
    before = len(node.gateway.reports)

    node.launcher.launched[0][1].crash.set_result(BrowserEnd(CloseReason.BROWSER_CRASHED))

    await until(lambda: len(node.gateway.reports) > before)
    assert [ended.session_id for ended in node.gateway.reports[-1].ended] == [SESSION]
    await until(lambda: not node.browsers.unreported())


async def test_a_report_that_failed_is_repeated(node: Node) -> None:
    node.gateway.errors = [Unavailable("away")]
    await node.browsers.start(an_order())
    node.launcher.launched[0][1].crash.set_result(BrowserEnd(CloseReason.BROWSER_CRASHED))
    await until(lambda: bool(node.gateway.reports[-1].ended))
    node.browsers.news.set()

    await until(lambda: not node.browsers.unreported())

    assert len([report for report in node.gateway.reports if report.ended]) == 2


async def test_a_node_whose_registration_ended_ends_everything_and_registers_anew(node: Node) -> None:
    await node.browsers.start(an_order())
    node.gateway.errors = [RegistrationEnded("lost")]
    node.browsers.news.set()

    await until(lambda: node.gateway.registrations == 2)

    assert node.launcher.launched[0][1].closed_with == BrowserEnd(CloseReason.NODE_LOST, "The node was declared lost.")
    assert node.browsers.running() == []


async def test_until_a_node_has_registered_anew_nobody_attaches_to_what_it_held(node: Node) -> None:
    await node.browsers.start(an_order())
    browser = node.launcher.launched[0][1]
    browser.closing = asyncio.Event()
    node.gateway.errors = [RegistrationEnded("lost")]
    node.browsers.news.set()
    await until(lambda: browser.closed_with is not None)

    with pytest.raises(SessionNotOpen, match="NODE_LOST"):
        node.browsers.find(SESSION, 1)

    assert node.gateway.registrations == 1
    browser.closing.set()
    await until(lambda: node.gateway.registrations == 2)
    with pytest.raises(SessionNotOpen, match="NODE_LOST"):
        node.browsers.find(SESSION, 1)


async def test_a_node_that_is_cut_off_ends_a_session_at_its_own_deadline(node: Node) -> None:
    await node.browsers.start(an_order(remaining=timedelta(seconds=30)))
    node.gateway.errors = [Unavailable("away")] * 100
    node.clock.step(timedelta(seconds=31))
    await node.browsers.enforce_deadlines()
    await node.membership.enforce_isolation()
    assert len(node.browsers.running()) == 1
    node.clock.step(timedelta(seconds=1))

    await node.browsers.enforce_deadlines()

    assert [ended.end.reason for ended in node.browsers.unreported()] == [CloseReason.TIMED_OUT]
    await node.browsers.wait_empty()


async def test_a_node_that_nobody_answers_ends_its_browsers(node: Node) -> None:
    node.gateway.assignments = [Assignment(SESSION, 1, timedelta(hours=1))]
    await node.browsers.start(an_order(remaining=timedelta(hours=1)))
    node.clock.step(timedelta(seconds=119))
    await node.membership.enforce_isolation()
    assert len(node.browsers.running()) == 1
    node.clock.step(timedelta(seconds=2))

    await node.membership.enforce_isolation()

    assert node.browsers.running() == []
    assert node.browsers.unreported()[0].end.reason is CloseReason.NODE_LOST


async def test_a_draining_node_says_so_and_then_reports_what_it_ended(node: Node) -> None:
    node.gateway.assignments = [Assignment(SESSION, 1, timedelta(hours=1))]
    await node.browsers.start(an_order())

    await node.membership.drain(within=timedelta(0), at_once=asyncio.Event())
    await node.membership.leave()

    assert node.gateway.reports[-1].draining
    told = [ended.end.reason for report in node.gateway.reports for ended in report.ended]
    assert set(told) == {CloseReason.NODE_DRAINED}
    assert node.browsers.running() == []


async def test_while_a_node_drains_its_sessions_live_on_and_heartbeats_say_so(node: Node) -> None:
    node.gateway.assignments = [Assignment(SESSION, 1, timedelta(hours=1))]
    await node.browsers.start(an_order())
    drain = asyncio.create_task(node.membership.drain(within=timedelta(hours=1), at_once=asyncio.Event()))

    await until(lambda: node.gateway.reports[-1].draining)

    assert [browser.session_id for browser in node.gateway.reports[-1].running] == [SESSION]
    assert not drain.done()
    await node.browsers.stop(SESSION, 1, CloseReason.USER_REQUESTED)
    await drain
    assert node.browsers.unreported() == []


async def test_a_second_signal_ends_a_drain(node: Node) -> None:
    node.gateway.assignments = [Assignment(SESSION, 1, timedelta(hours=1))]
    await node.browsers.start(an_order())
    at_once = asyncio.Event()
    drain = asyncio.create_task(node.membership.drain(within=timedelta(hours=1), at_once=at_once))
    await until(lambda: node.gateway.reports[-1].draining)

    at_once.set()

    await drain
    assert node.launcher.launched[0][1].closed_with == BrowserEnd(CloseReason.NODE_DRAINED, "The node was drained.")


async def test_a_node_with_a_full_disk_takes_nothing_new_until_there_is_room(node: Node) -> None:
    taking = []
    for disk in (0.84, 0.85, 0.84, 0.82):
        node.machine.disk_used = disk
        node.gateway.reports.clear()
        node.browsers.news.set()
        await until(lambda: node.gateway.reports)
        assert node.gateway.reports[-1].draining != node.browsers.takes_sessions
        taking.append(node.browsers.takes_sessions)

    assert taking == [True, False, False, True]
