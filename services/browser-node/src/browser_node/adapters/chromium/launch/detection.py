"""Tells at the node's start which browsers can be started at all, and what these can do."""

import asyncio
import logging
import zoneinfo
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec

from browser_node.adapters.chromium.browser import BrowserPipe
from browser_node.adapters.chromium.cdp.multiplexer import CdpError
from browser_node.adapters.chromium.cdp.node_session import NodeSession
from browser_node.adapters.chromium.launch.blank import start_process
from browser_node.adapters.chromium.launch.kinds import ROWS, Model, find_program
from browser_node.adapters.chromium.launch.plots import BrowserPlots
from browser_node.adapters.chromium.launch.program import Program
from browser_node.adapters.chromium.launch.template import ProfileTemplate
from browser_node.adapters.chromium.processes.tree import BrowserTree
from browser_node.domain.browser import BrowserKind
from browser_node.domain.options import BrowserTier

log = logging.getLogger(__name__)

_START_TIMEOUT = timedelta(seconds=30)
_CLEAN_END = timedelta(seconds=5)
_SANDBOX_POLL = timedelta(milliseconds=50)
_SANDBOXED = "You are adequately sandboxed."

# Time zones that the browser knows by their present names, and those of the machine's list, which has older names
# too, that it takes; every language of two letters, and the one of three that Chrome ships.
_KNOWLEDGE = """
(() => {
  const letters = [...'abcdefghijklmnopqrstuvwxyz'];
  const tags = letters.flatMap(a => letters.map(b => a + b)).concat('fil');
  const taken = zone => { try { new Intl.DateTimeFormat('en', {timeZone: zone}); return true } catch { return false } };
  const present = new Set(Intl.supportedValuesOf('timeZone'));
  return {
    languages: Intl.DateTimeFormat.supportedLocalesOf(tags),
    timezones: [...present, ...ZONES.filter(zone => !present.has(zone) && taken(zone))],
  };
})()
"""


class NoBrowser(Exception):
    """The node cannot host any browser; the message says why, for each kind."""


async def find_programs(
    plots: BrowserPlots,
    *,
    configured: Mapping[BrowserKind, Path | None],
    allow_no_sandbox: bool,
    templates: Path | None = None,
) -> dict[Model, Program]:
    """Find and start each model once. Raises NoBrowser when none came up whole as it should.

    A browser without its sandbox is taken only when the operator allowed that, and then loudly. Profiles to copy are
    kept in `templates`; without it there are none.
    """
    programs: dict[Model, Program] = {}
    faults: list[str] = []
    for model in ROWS:
        asked = configured.get(model.kind) if model.tier is BrowserTier.FULL else None
        path = await asyncio.to_thread(find_program, model.kind, asked, tier=model.tier)
        if path is None:
            faults.append(f"{model.kind} ({model.tier}): not installed")
            continue
        trial = _Trial(plots, Program(path=path, product="", sandboxed=True, model=model), templates)
        try:
            programs[model] = await trial.run()
        except (OSError, CdpError, TimeoutError) as error:
            faults.append(f"{model.kind} ({model.tier}): {path} does not run in its sandbox: {error}")
            if allow_no_sandbox:
                log.warning("%s RUNS WITHOUT A SANDBOX: a hostile page reaches this machine", path)
                unsafe = _Trial(plots, replace(trial.program, sandboxed=False), templates)
                programs[model] = await unsafe.run()
    if not any(model.tier is BrowserTier.FULL for model in programs):
        raise NoBrowser("; ".join(faults))
    return programs


class _Trial:
    """One start of one program."""

    def __init__(self, plots: BrowserPlots, program: Program, templates: Path | None) -> None:
        self._plots = plots
        self.program = program
        self._templates = templates

    async def run(self) -> Program:
        """Return the program with what its browser said. Raises OSError, CdpError, TimeoutError."""
        tree = self._plots.new()
        try:
            async with asyncio.timeout(_START_TIMEOUT.total_seconds()):
                pipe, version = await start_process(tree, self.program)
                product = str(version["product"])
                if not product.startswith(self.program.row.products):
                    raise CdpError(f"it says that it is {product}")
                session = NodeSession(pipe, lambda message: None)
                await session.open()
                if self.program.sandboxed:
                    await _check_sandbox(session, self.program.row.scheme, pipe)
                knowledge = await _knowledge(session)
            log.info("%s is %s", self.program.path, product)
            program = replace(
                self.program,
                product=product,
                languages=frozenset(knowledge["languages"]),
                timezones=frozenset(knowledge["timezones"]),
            )
            return replace(program, template=await self._template(tree, pipe))
        except (OSError, CdpError, TimeoutError):
            log.warning("%s does not start: %s", self.program.path, await tree.log_tail())
            raise
        finally:
            await tree.remove()

    async def _template(self, tree: BrowserTree, pipe: BrowserPipe) -> ProfileTemplate | None:
        if self._templates is None:
            return None
        # By its own hand: a browser that is ended by force leaves a profile that needs mending.
        pipe.tell("Browser.close", {})
        if not await tree.exited_within(_CLEAN_END):
            log.warning("%s does not end by itself: its browsers make their own profiles", self.program.path)
            return None
        folder = self._templates / f"{self.program.model.kind}-{self.program.model.tier}"
        return await asyncio.to_thread(ProfileTemplate.of, tree.folders.profile, folder)


async def _knowledge(session: NodeSession) -> dict[str, list[str]]:
    """Ask the browser which languages and time zones it knows. Raises CdpError."""
    zones = msgspec.json.encode(sorted(await asyncio.to_thread(zoneinfo.available_timezones))).decode()
    page = await _open(session, "about:blank")
    answer = await session.call(
        "Runtime.evaluate", {"expression": _KNOWLEDGE.replace("ZONES", zones), "returnByValue": True}, page
    )
    value: dict[str, list[str]] = answer["result"]["value"]
    return value


async def _check_sandbox(session: NodeSession, scheme: str | None, pipe: BrowserPipe) -> None:
    """See the sandbox: on the browser's own page about it, or in what the kernel says of its processes.

    Raises CdpError; times out, by the caller's limit, when the page never says so.
    """
    if scheme is None:
        page = await _open(session, "about:blank")
        # What runs a page's script has gone into its sandbox before.
        await session.call("Runtime.evaluate", {"expression": "0"}, page)
        for pid in await _renderers(pipe):
            if not await asyncio.to_thread(_is_confined, pid):
                raise CdpError(f"its process {pid} is not confined")
        return
    page = await _open(session, f"{scheme}://sandbox")
    question: dict[str, object] = {"expression": "document.body?.innerText ?? ''"}
    while True:
        answer = await session.call("Runtime.evaluate", question, page)
        if _SANDBOXED in str(answer["result"].get("value", "")):
            return
        await asyncio.sleep(_SANDBOX_POLL.total_seconds())


async def _renderers(pipe: BrowserPipe) -> list[int]:
    """Return the processes of pages; there is at least one."""
    while True:
        infos: list[dict[str, Any]] = (await pipe.call("SystemInfo.getProcessInfo"))["processInfo"]
        found = [int(info["id"]) for info in infos if info["type"] == "renderer"]
        if found:
            return found
        await asyncio.sleep(_SANDBOX_POLL.total_seconds())


def _is_confined(pid: int) -> bool:
    """Tell whether a process filters its system calls and has a PID namespace of its own, as Chrome's sandbox does."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False
    lines = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
    return lines.get("Seccomp", "").strip() == "2" and len(lines.get("NSpid", "").split()) > 1


async def _open(session: NodeSession, url: str) -> str:
    """Open a page and return the session on it. Raises CdpError."""
    target = await session.call("Target.createTarget", {"url": url})
    attached = await session.call("Target.attachToTarget", {"targetId": target["targetId"], "flatten": True})
    return str(attached["sessionId"])
