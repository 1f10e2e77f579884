"""A browser with a blank page that belongs to no session yet."""

import asyncio
import logging
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from browser_node.adapters.chromium.browser import BrowserPipe
from browser_node.adapters.chromium.cdp.multiplexer import CdpError
from browser_node.adapters.chromium.launch.program import Program
from browser_node.adapters.chromium.processes.tree import BrowserTree
from browser_node.adapters.egress.flags import egress_flags
from browser_node.adapters.egress.port import EgressPort

log = logging.getLogger(__name__)

# A browser that is busy with its own start answers late; one that hangs never does.
_ANSWER_TIMEOUT = timedelta(seconds=2)
_PAGE_POLL = timedelta(milliseconds=2)


class BlankBrowser:
    """A browser that answers and has a page. Whoever holds it gives it to a session or discards it."""

    def __init__(
        self,
        *,
        tree: BrowserTree,
        pipe: BrowserPipe,
        program: Program,
        egress: EgressPort,
        version: dict[str, Any],  # the result of Browser.getVersion
        page: str,
        page_size: str,
    ) -> None:
        self.tree = tree
        self.pipe = pipe
        self.program = program
        self.egress = egress
        self.product = str(version["product"])
        self.user_agent = str(version["userAgent"])
        # The target of its page, and the size of that by the browser's word.
        self.page = page
        self.page_size = page_size

    @property
    def gone(self) -> asyncio.Event:
        """Set when the browser has ended by itself."""
        return self.pipe.closed

    async def answers(self) -> bool:
        """Tell whether it is alive and well."""
        if self.gone.is_set():
            return False
        try:
            async with asyncio.timeout(_ANSWER_TIMEOUT.total_seconds()):
                await self.pipe.call("Browser.getVersion")
        except (CdpError, TimeoutError):
            return False
        return True

    async def discard(self) -> None:
        """End it and leave nothing."""
        self.pipe.end("the browser is not needed")
        await self.tree.remove()


async def start_blank(tree: BrowserTree, program: Program, egress: EgressPort) -> BlankBrowser:
    """Start a browser whose only way out is `egress`, and wait for its page.

    Raises OSError, CdpError; the tree is the caller's to remove.
    """
    pipe, version = await start_process(tree, program, flags=egress_flags(egress.number))
    page = await _first_page(pipe)
    window = (await pipe.call("Browser.getWindowForTarget", {"targetId": page}))["bounds"]
    size = f"{window['width']}x{window['height'] - program.row.frame_height}"
    return BlankBrowser(
        tree=tree, pipe=pipe, program=program, egress=egress, version=version, page=page, page_size=size
    )


async def start_process(
    tree: BrowserTree, program: Program, *, flags: Sequence[str] = ()
) -> tuple[BrowserPipe, dict[str, Any]]:  # the result of Browser.getVersion
    """Start a browser and return its pipe and what it says of itself. Raises OSError, CdpError."""
    pipe = BrowserPipe()
    ends = await tree.plant(program, pipe, flags=flags)
    pipe.open(ends.write)
    version = asyncio.ensure_future(pipe.call("Browser.getVersion"))
    gone = asyncio.ensure_future(pipe.closed.wait())
    try:
        await asyncio.wait({version, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not version.done():
            raise CdpError("it exited at once")
        return pipe, version.result()
    finally:
        version.cancel()
        gone.cancel()


async def _first_page(pipe: BrowserPipe) -> str:
    """Wait for the first page, which clients expect to find, and return its target."""
    while True:
        targets = (await pipe.call("Target.getTargets"))["targetInfos"]
        for target in targets:
            if target["type"] == "page":
                return str(target["targetId"])
        await asyncio.sleep(_PAGE_POLL.total_seconds())
