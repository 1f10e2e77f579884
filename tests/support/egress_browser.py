"""A real browser behind a port of the forwarder, as a user of its own where the tests are root."""

import asyncio
import contextlib
import shutil
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from websockets.asyncio.client import connect

from browser_node.adapters.chromium.launch.kinds import arguments
from browser_node.adapters.chromium.processes.accounts import claimed_accounts
from tests.support.real_browsers import RawClient, chrome_program, short_folder
from tests.support.waiting import eventually

_LEAN = Path("/usr/lib/chromium/chromium-headless-shell")


def lean_program() -> Path:
    assert _LEAN.exists(), "these tests need the lean browser: apt-get install chromium-headless-shell"
    return _LEAN


@dataclass
class Plot:
    """Where a browser will run; its folder belongs to its user."""

    folder: Path
    user: int | None


@contextlib.contextmanager
def a_plot() -> Iterator[Plot]:
    with claimed_accounts() as accounts, short_folder() as root:
        user = accounts.user_of(accounts.take())
        folder = root / "b"
        folder.mkdir(mode=0o700)
        if user is not None:
            shutil.chown(folder, user, user)
        yield Plot(folder, user)


@dataclass
class Page:
    """The browser's first page."""

    client: RawClient
    session: str
    folder: Path

    async def open(self, url: str) -> str:
        """Go there and return the text of what is shown, or the error."""
        answer = await self.client.call("Page.navigate", {"url": url}, self.session)
        if answer.get("errorText"):
            return str(answer["errorText"])

        async def loaded() -> bool:
            return bool(await self.run("document.readyState == 'complete' && location.href != 'about:blank'"))

        await eventually(loaded, within=20, what="the page has loaded")
        return str(await self.run("document.body.innerText"))

    async def run(self, script: str) -> Any:  # pages return any value
        """Evaluate, wait for a promise, and return the value."""
        parameters: dict[str, object] = {"expression": script, "awaitPromise": True, "returnByValue": True}
        answer = await self.client.call("Runtime.evaluate", parameters, self.session)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")


@contextlib.asynccontextmanager
async def a_browser(plot: Plot, flags: Sequence[str], program: Path | None = None) -> AsyncIterator[Page]:
    """Run a browser with a node's own flags and these, in its sandbox, within the block."""
    if program is None:
        program = await asyncio.to_thread(chrome_program)
    profile = plot.folder / "p"
    command = [
        part
        for part in arguments(program, profile, sandboxed=True)
        if part not in ("--remote-debugging-pipe", "about:blank")
    ]
    owner = {} if plot.user is None else {"user": plot.user, "group": plot.user, "extra_groups": []}
    process = await asyncio.create_subprocess_exec(
        *command,
        "--remote-debugging-port=0",
        *flags,
        "about:blank",
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
        cwd=plot.folder,
        env={"HOME": str(plot.folder), "TMPDIR": str(plot.folder), "PATH": "/usr/bin:/bin"},
        **owner,  # type: ignore[arg-type]  # one keyword for each kind of value
    )
    try:
        address = await eventually(lambda: asyncio.to_thread(_address, profile), within=30, what="the browser is up")
        async with connect(address, max_size=None, proxy=None) as socket:
            client = RawClient(socket)
            page = Page(client, await client.open_page(), plot.folder)
            yield page
            with contextlib.suppress(Exception):
                await client.send("Browser.close")
                await asyncio.wait_for(process.wait(), 10)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


def _address(profile: Path) -> str | None:
    file = profile / "DevToolsActivePort"
    lines = file.read_text().splitlines() if file.exists() else []
    return f"ws://127.0.0.1:{lines[0]}{lines[1]}" if len(lines) == 2 else None
