"""A bare CDP client and a bare browser: the floor that everything is measured against."""

import asyncio
import contextlib
import itertools
import json
import shutil
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
from websockets.asyncio.client import ClientConnection, connect

from browser_node.adapters.chromium.launch.kinds import arguments, find_program
from browser_node.domain.browser import BrowserKind


class CdpClient:
    """One CDP connection with calls one after another."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._ids = itertools.count(1)
        self._session_id: str | None = None

    async def attach_to_page(self) -> None:
        """Address the first page from now on."""
        targets = (await self.call("Target.getTargets"))["targetInfos"]
        assert isinstance(targets, list)
        page = next(target for target in targets if target["type"] == "page")
        attached = await self.call("Target.attachToTarget", targetId=page["targetId"], flatten=True)
        self._session_id = str(attached["sessionId"])

    async def call(self, method: str, **params: object) -> dict[str, object]:
        number = await self.send(method, **params)
        while True:
            answer = json.loads(await self._socket.recv())
            if answer.get("id") == number:
                result: dict[str, object] = answer["result"]
                return result

    async def visit(self, url: str) -> None:
        """Open an address in the first page and wait until it is loaded."""
        await self.attach_to_page()
        await self.call("Page.enable")
        await self.send("Page.navigate", url=url)
        while "Page.loadEventFired" not in str(await self._socket.recv()):
            pass

    async def send(self, method: str, **params: object) -> int:
        number = next(self._ids)
        message: dict[str, object] = {"id": number, "method": method, "params": params}
        if self._session_id:
            message["sessionId"] = self._session_id
        await self._socket.send(json.dumps(message))
        return number

    async def receive_answer(self) -> None:
        """Wait for any answer, without looking into it: large ones would measure the parser."""
        while not str(await self._socket.recv()).startswith('{"id"'):
            pass


@contextlib.asynccontextmanager
async def cdp_client(url: str) -> AsyncIterator[CdpClient]:
    async with connect(url, compression=None, max_size=None, ping_interval=None) as socket:
        yield CdpClient(socket)


@contextlib.asynccontextmanager
async def raw_chrome(*flags: str) -> AsyncIterator[tuple[str, psutil.Process]]:
    """A browser without a fleet, with a node's flags, on its own debugging port: its WebSocket URL and its process.

    It has no sandbox, which root's browser could not have; that makes the floor a little lower.
    """
    folder = Path(tempfile.mkdtemp(prefix="raw-chrome-"))
    program = find_program(BrowserKind.CHROME, None)
    if program is None:
        raise FileNotFoundError("no Chrome or Chromium was found: apt-get install chromium")
    command = [part for part in arguments(program, folder, sandboxed=False) if part != "--remote-debugging-pipe"]
    process = await asyncio.create_subprocess_exec(
        *command,
        "--remote-debugging-port=0",
        *flags,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        yield await _websocket_url(folder), psutil.Process(process.pid)
    finally:
        process.terminate()
        await process.wait()
        shutil.rmtree(folder, ignore_errors=True)


async def _websocket_url(folder: Path) -> str:
    port_file = folder / "DevToolsActivePort"
    started = time.monotonic()
    while time.monotonic() - started < 30:
        lines = port_file.read_text().splitlines() if port_file.exists() else []
        if len(lines) == 2:
            return f"ws://127.0.0.1:{lines[0]}{lines[1]}"
        await asyncio.sleep(0.002)
    raise TimeoutError("the browser did not open its debugging port")
