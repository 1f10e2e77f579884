"""Browsers that stand ready, kinds and tiers of browsers, and profiles made from a template, with real Chromium."""

import asyncio
import os
import signal
from pathlib import Path

import pytest
from websockets.asyncio.client import connect

from browser_node.adapters.chromium.launch.detection import NoBrowser, find_programs
from browser_node.adapters.chromium.launch.kinds import Model
from browser_node.adapters.chromium.launch.program import Program
from browser_node.domain.browser import BrowserKind, CloseReason, SessionId
from browser_node.domain.errors import BrowserTypeUnavailable
from browser_node.domain.options import BrowserOptions, BrowserTier, ReceiptState
from browserfleet.browser.v1 import browser_pb2
from tests.support.edge_stand_in import write_msedge
from tests.support.fake_fleet import NodeProcess, a_fleet
from tests.support.node_fakes import SESSION
from tests.support.pages import serving_pages
from tests.support.real_browsers import (
    Host,
    RawClient,
    alive,
    attach_token,
    chrome_program,
    hosting_real_browsers,
    processes_of,
    short_folder,
    until_ended,
)
from tests.support.waiting import until

OTHER = SessionId("pbs_" + "1" * 26)
CHROME, LEAN, EDGE = (
    Model(BrowserKind.CHROME),
    Model(BrowserKind.CHROME, BrowserTier.LEAN),
    Model(BrowserKind.MSEDGE),
)


async def evaluated(host: Host, session_id: SessionId, expression: str, *, visit: str) -> object:
    """Open an address in a session's first page and return what an expression is there."""
    token = attach_token(host.signer, session_id=session_id)
    async with connect(host.url(token, session_id=session_id)) as socket:
        client = RawClient(socket)
        page = await client.open_page()
        await client.call("Page.enable", {}, page)
        await client.send("Page.navigate", {"url": visit}, page)
        while "Page.loadEventFired" not in str(await socket.recv()):
            pass
        answer = await client.call("Runtime.evaluate", {"expression": expression, "returnByValue": True}, page)
        return answer["result"].get("value")


async def test_a_warm_browser_is_handed_over_and_its_place_filled_again() -> None:
    async with hosting_real_browsers(warm=1) as host:
        await host.warm()
        browser = await host.start()
        assert browser.facts.warm
        assert browser.facts.start_message == "The browser stood ready."
        assert host.pool.count == 0

        await host.warm()
        second = await host.start(OTHER)

        assert second.facts.warm
        assert second.pid != browser.pid
        assert os.geteuid() != 0 or await asyncio.to_thread(users_of, browser.pid) != await asyncio.to_thread(
            users_of, second.pid
        )
        # Both slots are taken: no further browser is kept.
        await host.pool.tend()
        assert host.pool.occupied == 0


def users_of(pid: int) -> set[int]:
    return {info.user for info in processes_of(pid)}


async def test_a_cold_start_says_why() -> None:
    async with hosting_real_browsers() as host:
        assert (await host.start()).facts.start_message == "No browser stood ready."
        lean = await host.start(OTHER, options=BrowserOptions(tier=BrowserTier.LEAN))
        assert not lean.facts.warm
        assert lean.facts.start_message == "Browsers of this tier are started for each session."


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
async def test_a_browser_that_dies_or_hangs_in_the_pool_is_given_to_nobody(number: signal.Signals) -> None:
    async with hosting_real_browsers(warm=1) as host:
        await host.warm()
        spoiled = host.pool.ready[0].tree.pid
        processes = await asyncio.to_thread(processes_of, spoiled)
        os.kill(spoiled, number)

        browser = await host.start()

        assert browser.pid != spoiled
        assert not browser.facts.warm
        await until_ended([info.pid for info in processes], within=10)


async def test_options_are_applied_to_a_warm_browser() -> None:
    async with hosting_real_browsers(warm=1) as host:
        await host.warm()
        browser = await host.start(options=BrowserOptions(timezone="Asia/Tokyo", locale="de-DE"))

        assert browser.facts.warm
        states = {receipt.option: receipt.state for receipt in browser.facts.receipts}
        assert states["timezone"] is states["locale"] is ReceiptState.APPLIED


async def test_nothing_of_one_session_is_in_the_next() -> None:
    with short_folder() as folder:
        programs = await trial(folder / "templates")
        async with hosting_real_browsers(programs=programs, warm=1, slots=3) as host, serving_pages() as site:
            store = "localStorage.canary = 'a'; document.cookie = 'canary=a; max-age=3600'; 1"
            find = "[localStorage.canary ?? '', document.cookie].join()"
            await host.warm()
            await host.start()
            await evaluated(host, SESSION, store, visit=site)
            assert "canary" in str(await evaluated(host, SESSION, find, visit=site))
            await host.browsers.stop(SESSION, 1, CloseReason.USER_REQUESTED)
            await host.browsers.wait_empty()

            for number in range(2, 5):
                session = SessionId(f"pbs_{number:026}")
                await host.start(session)
                assert "canary" not in str(await evaluated(host, session, find, visit=site))
                await host.browsers.stop(session, 1, CloseReason.USER_REQUESTED)
                await host.browsers.wait_empty()


async def trial(templates: Path, **configured: Path) -> dict[Model, Program]:
    """Find programs as a node does at its start. Raises NoBrowser."""
    async with hosting_real_browsers() as host:
        (found,) = await asyncio.gather(
            find_programs(
                host.plots,
                configured={BrowserKind(kind): path for kind, path in configured.items()},
                allow_no_sandbox=False,
                templates=templates,
            ),
            return_exceptions=True,
        )
    if isinstance(found, BaseException):
        raise found
    return found


async def test_browsers_begin_with_a_copy_of_the_template() -> None:
    with short_folder() as folder:
        programs = await trial(folder / "templates")
        template = programs[CHROME].template
        assert template is not None
        names = {path.name for path in await asyncio.to_thread(lambda: list(template.folder.rglob("*")))}
        assert "Preferences" in names
        assert not any(name.startswith("Singleton") for name in names)
        local_state = await asyncio.to_thread((template.folder / "Local State").read_text)
        assert "client_id" not in local_state
        async with hosting_real_browsers(programs=programs) as host, serving_pages() as site:
            browser = await host.start()
            assert (await evaluated(host, SESSION, "document.title", visit=site)) == "A page"
            profile = host.scratch.glob("s*/p")
            owners = {path.lstat().st_uid for path in await asyncio.to_thread(lambda: list(next(profile).rglob("*")))}
            assert owners == await asyncio.to_thread(users_of, browser.pid)


async def test_edge_has_a_row_of_its_own() -> None:
    with short_folder() as folder:
        stand_in = await asyncio.to_thread(write_msedge, folder)
        programs = await trial(folder / "templates", msedge=stand_in)

        assert list(programs) == [CHROME, LEAN, EDGE]
        edge = programs[EDGE]
        assert (edge.path, edge.product.split("/")[0], edge.sandboxed) == (stand_in, "Edg", True)
        async with hosting_real_browsers(programs=programs, warm=1) as host, serving_pages() as site:
            await host.warm()
            browser = await host.start(kind=BrowserKind.MSEDGE)
            assert browser.facts.product.startswith("Edg/")
            assert browser.facts.start_message == "Browsers of this type are started for each session."
            assert await evaluated(host, SESSION, "document.title", visit=site) == "A page"
            processes = await asyncio.to_thread(processes_of, browser.pid)
            await host.browsers.stop(SESSION, 1, CloseReason.USER_REQUESTED)
            await host.browsers.wait_empty()
            assert await asyncio.to_thread(alive, [info.pid for info in processes]) == []


async def test_a_browser_under_anothers_name_is_not_taken() -> None:
    with short_folder() as folder:
        programs = await trial(folder / "templates", msedge=await asyncio.to_thread(chrome_program))
        assert list(programs) == [CHROME, LEAN]
        async with hosting_real_browsers(programs=programs) as host:
            with pytest.raises(BrowserTypeUnavailable):
                await host.start(kind=BrowserKind.MSEDGE)

        with pytest.raises(NoBrowser, match="says that it is Edg"):
            await trial(folder / "templates", chrome=await asyncio.to_thread(write_msedge, folder))


async def test_a_node_says_what_it_has_and_keeps_browsers_ready() -> None:
    with short_folder() as folder:
        extra = {
            "FLEET_WARM_BROWSERS": "1",
            "FLEET_EDGE_BINARY": str(await asyncio.to_thread(write_msedge, folder)),
        }
        async with a_fleet() as fleet:
            node = NodeProcess(fleet=fleet, state_dir=folder / "state", extra=extra)
            async with node.ended_at_last():
                await node.start()
                registration = fleet.registrations[0]
                types = [browser.browser_type for browser in registration.browsers]
                assert types == [browser_pb2.BROWSER_TYPE_CHROME, browser_pb2.BROWSER_TYPE_MSEDGE]
                assert registration.browsers[1].product.startswith("Edg/")
                tiers = list(registration.capabilities.tiers)
                assert tiers == [browser_pb2.BROWSER_TIER_FULL, browser_pb2.BROWSER_TIER_LEAN]
                await until(lambda: fleet.heartbeats[-1].warm_browsers == 1, within=20)

                spec = browser_pb2.BrowserSpec(timezone="Asia/Tokyo")
                browser = await node.start_browser(spec=spec)

                assert browser.start_mode == browser_pb2.START_MODE_WARM
                receipts = {receipt.option: receipt for receipt in browser.receipts}
                assert receipts["timezone"].state == browser_pb2.Receipt.STATE_APPLIED
                await until(lambda: fleet.heartbeats[-1].warm_browsers == 1, within=20)
                assert await node.end(signal.SIGTERM) == 0
            assert not list((folder / "b").glob("*"))
