"""What a browser can reach and take, in real browsers, on the limits and walls that this machine allows."""

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from websockets.asyncio.client import connect

from browser_node.adapters.chromium.browser import ChromiumBrowser
from browser_node.adapters.chromium.cdp.node_session import NodeSession
from browser_node.domain.browser import BrowserEnd, CloseReason, SessionId
from browser_node.domain.limits import SessionLimits
from tests.support.node_fakes import SESSION
from tests.support.real_browsers import Host, RawClient, hosting_real_browsers
from tests.support.waiting import until

OTHER = SessionId("pbs_" + "1" * 26)

# Touches every page of what it takes, and keeps it.
_EAT_MEMORY = "window.kept = []; for (;;) kept.push(new Uint8Array(8 << 20).fill(1))"
_START_WORKERS = """
const code = URL.createObjectURL(new Blob(['for (;;);']));
for (let n = 0; n < 150; n++) new Worker(code);
"""


@pytest.fixture
async def host() -> AsyncIterator[Host]:
    assert os.geteuid() == 0, "groups and walls take root: sudo make test"
    async with hosting_real_browsers(SessionLimits(memory_bytes=400 << 20, pids=200, cpus=0.8)) as host:
        yield host


class Page:
    """A page over the browser's own pipe: nothing is filtered."""

    def __init__(self, browser: ChromiumBrowser) -> None:
        self.events: list[str] = []
        self._session = NodeSession(browser._pipe, self._on_event)  # the pipe itself is under test here
        self._page = ""

    def _on_event(self, message: bytes) -> None:
        self.events.append(json.loads(message)["method"])

    async def open(self) -> "Page":
        await self._session.open()
        target = await self._session.call("Target.createTarget", {"url": "about:blank"})
        return await self._attach(target["targetId"])

    async def join(self, target_id: str) -> "Page":
        await self._session.open()
        return await self._attach(target_id)

    async def _attach(self, target_id: str) -> "Page":
        attached = await self._session.call("Target.attachToTarget", {"targetId": target_id, "flatten": True})
        self._page = str(attached["sessionId"])
        await self._session.call("Inspector.enable", {}, self._page)
        return self

    async def go(self, url: str) -> str:
        """Return what went wrong with the way to a page."""
        answer = await self._session.call("Page.navigate", {"url": url}, self._page)
        return str(answer.get("errorText", ""))

    async def run(self, script: str) -> object:
        answer = await self._session.call("Runtime.evaluate", {"expression": script}, self._page)
        return answer["result"].get("value")

    def begin(self, script: str) -> None:
        """Run what may never end."""
        self._session.tell("Runtime.evaluate", {"expression": script}, self._page)

    def tell(self, method: str) -> None:
        self._session.tell(method, {}, self._page)


async def targets(browser: ChromiumBrowser) -> list[dict[str, str]]:
    infos: list[dict[str, str]] = (await browser._pipe.call("Target.getTargets"))["targetInfos"]
    return infos


async def answers(page: Page) -> object:
    async with asyncio.timeout(5):
        return await page.run("6 * 7")


async def ended(host: Host, session_id: SessionId = SESSION, *, within: float = 30) -> BrowserEnd:
    """Wait until the node says that the browser has ended by itself."""
    await until(lambda: any(end.session_id == session_id for end in host.browsers.unreported()), within=within)
    return next(end.end for end in host.browsers.unreported() if end.session_id == session_id)


async def test_the_browser_itself_refuses_what_the_policy_forbids(host: Host) -> None:
    page = await Page(await host.start()).open()

    for url in (
        "file:///etc/passwd",
        "file:///proc/self/environ",
        "view-source:file:///etc/passwd",
    ):
        assert "BLOCKED_BY_ADMINISTRATOR" in await page.go(url), url
    assert await page.go("data:text/html,hello") == ""


async def test_a_browser_sees_its_own_folder_and_processes_alone(host: Host) -> None:
    browser, neighbour = await host.start(), await host.start(OTHER)
    user = str((await asyncio.to_thread(Path(f"/proc/{browser.pid}").stat)).st_uid)
    state = host.scratch.parent / "state"
    look = f"""
        for folder in /tmp /var/tmp /dev/shm {host.scratch} {state}; do ls -A $folder 2>/dev/null; done
        test -d /proc/{browser.pid} && echo sees itself
        for pid in 1 {os.getpid()} {neighbour.pid}; do test -d /proc/$pid && echo sees $pid; done
        for folder in / /etc /usr /var; do touch $folder/x 2>/dev/null && echo writes $folder; done
        touch {host.scratch}/{browser._tree.folders.root.name}/d/x && echo writes its own
    """

    shell = await asyncio.create_subprocess_exec(
        *("nsenter", f"--target={browser.pid}", "--mount"),
        *("setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups"),
        *("sh", "-c", look),
        stdout=asyncio.subprocess.PIPE,
    )

    output = (await shell.communicate())[0].decode().split("\n")
    # The scratch folder lies in /tmp here: the way to it is there, and nothing else.
    seen = [host.scratch.parent.name, browser._tree.folders.root.name, "sees itself", "writes its own"]
    assert [line for line in output if line] == seen


async def test_a_page_that_runs_out_of_memory_ends_alone(host: Host, caplog: pytest.LogCaptureFixture) -> None:
    page = await Page(await host.start()).open()

    page.begin(_EAT_MEMORY)

    await until(lambda: "Inspector.targetCrashed" in page.events, within=30)
    await until(lambda: any("out of memory" in record.message for record in caplog.records))
    assert await answers(await Page(await host.start()).open()) == 42
    assert host.browsers.unreported() == []


async def test_a_browser_that_runs_out_of_memory_says_so_and_its_neighbour_goes_on(host: Host) -> None:
    browser = await host.start()
    neighbour = await Page(await host.start(OTHER)).open()
    page = await Page(browser).open()
    # The kernel is told to take the main process first, which it does by itself only when no page is left to take.
    await asyncio.to_thread(Path(f"/proc/{browser.pid}/oom_score_adj").write_text, "1000")

    page.begin(_EAT_MEMORY)

    assert (await ended(host)).reason is CloseReason.OUT_OF_MEMORY
    assert await answers(neighbour) == 42


async def test_a_browser_that_somebody_ended_crashed(host: Host) -> None:
    browser = await host.start()

    os.kill(browser.pid, signal.SIGKILL)

    end = await ended(host)
    assert (end.reason, "signal 9" in end.message) == (CloseReason.BROWSER_CRASHED, True)


async def test_a_bomb_of_workers_leaves_its_neighbour_alone(host: Host) -> None:
    browser = await host.start()
    neighbour = await Page(await host.start(OTHER)).open()
    bomb = await Page(browser).open()

    bomb.begin(_START_WORKERS)
    for _ in range(10):
        assert await answers(neighbour) == 42
        await asyncio.sleep(0.1)

    enclosure = browser._tree.enclosure
    assert enclosure is not None
    assert enclosure.group is not None
    pids = next(door.parent for door in enclosure.group.doors if (door.parent / "pids.max").exists())
    assert int(await asyncio.to_thread((pids / "pids.current").read_text)) <= 200
    # It ends like any other.
    folder = browser._tree.folders.root
    await host.browsers.stop(SESSION, 1, CloseReason.USER_REQUESTED)
    await until(lambda: not pids.exists() and not folder.exists(), within=15)


async def test_a_session_that_fills_its_disk_ends_alone() -> None:
    async with hosting_real_browsers(SessionLimits(disk_bytes=48 << 20)) as host:
        browser = await host.start()
        neighbour = await Page(await host.start(OTHER)).open()

        await asyncio.to_thread((browser._tree.folders.downloads / "x").write_bytes, os.urandom(1 << 20) * 64)

        assert (await ended(host)).reason is CloseReason.DISK_FULL
        assert await answers(neighbour) == 42


async def test_a_renderer_that_crashes_leaves_the_session_and_its_clients(host: Host) -> None:
    browser = await host.start()
    async with connect(host.url()) as socket:
        client = RawClient(socket)
        await client.call("Inspector.enable", session=await client.open_page())
        [first] = [info["targetId"] for info in await targets(browser) if info["type"] == "page"]

        (await Page(browser).join(first)).tell("Page.crash")

        async with asyncio.timeout(10):
            while "Inspector.targetCrashed" not in str(await socket.recv()):
                pass
        await client.call("Target.createTarget", {"url": "about:blank"})
    assert host.browsers.unreported() == []


async def test_without_groups_and_walls_browsers_run_as_anywhere() -> None:
    async with hosting_real_browsers(confined=False) as host:
        page = await Page(await host.start()).open()

        assert await answers(page) == 42
