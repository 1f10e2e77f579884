"""Starts browsers, and tells at the node's start which kinds can be started at all."""

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from browser_node.adapters.chromium.accounts import Accounts
from browser_node.adapters.chromium.browser import BrowserPipe, ChromiumBrowser
from browser_node.adapters.chromium.downloads import Downloads
from browser_node.adapters.chromium.folders import Scratch
from browser_node.adapters.chromium.kinds import KINDS, find_program
from browser_node.adapters.chromium.multiplexer import CdpError
from browser_node.adapters.chromium.node_session import NodeSession
from browser_node.adapters.chromium.targets import Targets
from browser_node.adapters.chromium.tree import BrowserTree
from browser_node.domain.artifact import ArtifactOrigin
from browser_node.domain.browser import BrowserFacts, BrowserKind, InstalledBrowser, StartOrder
from browser_node.domain.errors import BrowserStartFailed, BrowserTypeUnavailable
from browser_node.usecases.ports import ArtifactSpool
from fleetkit.ids import IdSource

log = logging.getLogger(__name__)

_START_TIMEOUT = timedelta(seconds=30)
_PAGE_POLL = timedelta(milliseconds=10)
_SANDBOX_POLL = timedelta(milliseconds=50)
_SANDBOXED = "You are adequately sandboxed."


class NoBrowser(Exception):
    """The node cannot host any browser; the message says why, for each kind."""


@dataclass(frozen=True, slots=True)
class Program:
    """A browser that was found and started once."""

    path: Path
    product: str
    sandboxed: bool


class BrowserPlots:
    """Where browsers grow: hands out fresh trees."""

    def __init__(self, *, scratch: Scratch, accounts: Accounts) -> None:
        self._scratch = scratch
        self._accounts = accounts

    def new(self) -> BrowserTree:
        return BrowserTree(scratch=self._scratch, accounts=self._accounts)


class ChromiumLauncher:
    """A BrowserLauncher for every kind in `programs`."""

    def __init__(
        self, *, plots: BrowserPlots, programs: Mapping[BrowserKind, Program], spool: ArtifactSpool, ids: IdSource
    ) -> None:
        self._plots = plots
        self._programs = programs
        self._spool = spool
        self._ids = ids

    @property
    def installed(self) -> tuple[InstalledBrowser, ...]:
        """What the node advertises."""
        return tuple(InstalledBrowser(kind, program.product) for kind, program in self._programs.items())

    async def launch(self, order: StartOrder) -> ChromiumBrowser:
        program = self._programs.get(order.kind)
        if program is None:
            raise BrowserTypeUnavailable("This node has no such browser.", browser_type=order.kind)
        tree = self._plots.new()
        try:
            async with asyncio.timeout(_START_TIMEOUT.total_seconds()):
                return await self._bring_up(tree, program, order)
        except (OSError, CdpError, TimeoutError) as error:
            log.warning("a browser did not start: %s", error, extra={"output": await tree.log_tail()})
            await tree.remove()
            raise BrowserStartFailed("The browser did not come up.") from error
        except BaseException:
            await asyncio.shield(tree.remove())
            raise

    async def _bring_up(self, tree: BrowserTree, program: Program, order: StartOrder) -> ChromiumBrowser:
        pipe, version = await _start(tree, program.path, sandboxed=program.sandboxed)
        origin = ArtifactOrigin(
            session_id=order.session_id, artifact_token=order.artifact_token, trace_headers=order.trace_headers
        )
        downloads = Downloads(
            multiplexer=pipe, folder=tree.folders.downloads, owner=tree.user, origin=origin, spool=self._spool
        )
        await downloads.start()
        targets = Targets(pipe)
        await targets.start()
        await _first_page(pipe)
        facts = BrowserFacts(
            product=str(version["product"]), user_agent=str(version["userAgent"]), sandboxed=program.sandboxed
        )
        return ChromiumBrowser(
            tree=tree,
            pipe=pipe,
            facts=facts,
            downloads=downloads,
            targets=targets,
            origin=origin,
            spool=self._spool,
            ids=self._ids,
        )


async def _start(tree: BrowserTree, program: Path, *, sandboxed: bool) -> tuple[BrowserPipe, dict[str, Any]]:
    """Start a browser and return its pipe and what it says of itself. Raises OSError, CdpError."""
    pipe = BrowserPipe()
    ends = await tree.plant(program, pipe, sandboxed=sandboxed)
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


async def _first_page(pipe: BrowserPipe) -> None:
    """Wait for the first page: clients expect to find one."""
    while True:
        targets = (await pipe.call("Target.getTargets"))["targetInfos"]
        if any(target["type"] == "page" for target in targets):
            return
        await asyncio.sleep(_PAGE_POLL.total_seconds())


async def find_programs(
    plots: BrowserPlots, *, configured: Path | None, allow_no_sandbox: bool
) -> dict[BrowserKind, Program]:
    """Find and start each kind of browser once. Raises NoBrowser when none came up as it should.

    A browser without its sandbox is taken only when the operator allowed that, and then loudly.
    """
    programs: dict[BrowserKind, Program] = {}
    faults: list[str] = []
    for kind in BrowserKind:
        path = await asyncio.to_thread(find_program, kind, configured)
        if path is None:
            faults.append(f"{kind}: not installed")
            continue
        try:
            programs[kind] = await _try(plots, kind, path, sandboxed=True)
        except (OSError, CdpError, TimeoutError) as error:
            faults.append(f"{kind}: {path} does not run in its sandbox: {error}")
            if allow_no_sandbox:
                log.warning("%s RUNS WITHOUT A SANDBOX: a hostile page reaches this machine", path)
                programs[kind] = await _try(plots, kind, path, sandboxed=False)
    if not programs:
        raise NoBrowser("; ".join(faults))
    return programs


async def _try(plots: BrowserPlots, kind: BrowserKind, path: Path, *, sandboxed: bool) -> Program:
    tree = plots.new()
    try:
        async with asyncio.timeout(_START_TIMEOUT.total_seconds()):
            pipe, version = await _start(tree, path, sandboxed=sandboxed)
            if sandboxed:
                await _check_sandbox(pipe, KINDS[kind].scheme)
            log.info("%s is %s", path, version["product"])
            return Program(path=path, product=str(version["product"]), sandboxed=sandboxed)
    except (OSError, CdpError, TimeoutError):
        log.warning("%s does not start: %s", path, await tree.log_tail())
        raise
    finally:
        await tree.remove()


async def _check_sandbox(pipe: BrowserPipe, scheme: str) -> None:
    """Ask the browser's own page. Times out, by the caller's limit, when it never says what it should."""
    target = await pipe.call("Target.createTarget", {"url": f"{scheme}://sandbox"})
    session = NodeSession(pipe, lambda message: None)
    await session.open()
    attached = await session.call("Target.attachToTarget", {"targetId": target["targetId"], "flatten": True})
    question: dict[str, object] = {"expression": "document.body?.innerText ?? ''"}
    while True:
        answer = await session.call("Runtime.evaluate", question, str(attached["sessionId"]))
        if _SANDBOXED in str(answer["result"].get("value", "")):
            return
        await asyncio.sleep(_SANDBOX_POLL.total_seconds())
