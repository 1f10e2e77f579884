"""Gives each session its browser: one that stands ready where that will do, else one that is started for it."""

import asyncio
import logging
from collections.abc import Mapping
from datetime import timedelta

from browser_node.adapters.chromium.browser import ChromiumBrowser
from browser_node.adapters.chromium.cdp.multiplexer import CdpError
from browser_node.adapters.chromium.extensions.loader import ExtensionLoader
from browser_node.adapters.chromium.launch.blank import BlankBrowser, start_blank
from browser_node.adapters.chromium.launch.handover import HandOver, Start
from browser_node.adapters.chromium.launch.kinds import Model
from browser_node.adapters.chromium.launch.plots import BrowserPlots
from browser_node.adapters.chromium.launch.pool import WarmPool
from browser_node.adapters.chromium.launch.program import Program
from browser_node.adapters.egress.forwarder import Forwarder
from browser_node.domain.browser import BrowserKind, InstalledBrowser, StartOrder
from browser_node.domain.errors import BrowserStartFailed, BrowserTypeUnavailable, InvalidOption, OptionUnavailable
from browser_node.domain.option_rules import check_options
from browser_node.domain.options import BrowserOptions, BrowserTier
from browser_node.domain.proxies import Route

log = logging.getLogger(__name__)

_START_TIMEOUT = timedelta(seconds=30)

_STOOD_READY = Start(True, "The browser stood ready.")
_WAS_STARTING = Start(False, "No browser stood ready; one that was just starting was taken.")
_POOL_EMPTY = Start(False, "No browser stood ready.")


class BrowserStarter:
    """Starts blank browsers."""

    def __init__(self, *, plots: BrowserPlots, forwarder: Forwarder) -> None:
        self._plots = plots
        self._forwarder = forwarder

    async def start(self, program: Program) -> BlankBrowser:
        """Return a browser with a blank page. Raises BrowserStartFailed; leaves nothing when it fails."""
        tree = self._plots.new()
        try:
            async with asyncio.timeout(_START_TIMEOUT.total_seconds()):
                port = await self._forwarder.open(owner=tree.user)
                tree.finally_do(lambda: self._forwarder.close(port))
                return await start_blank(tree, program, port)
        except (OSError, CdpError, TimeoutError) as error:
            log.warning("a browser did not start: %s", error, extra={"output": await tree.log_tail()})
            await tree.remove()
            raise BrowserStartFailed("The browser did not come up.") from error
        except BaseException:
            await asyncio.shield(tree.remove())
            raise

    def route_for(self, options: BrowserOptions) -> Route:
        """Return a session's way out. Raises OptionUnavailable, InvalidArgument."""
        return self._forwarder.route_for(options)


class ChromiumLauncher:
    """A BrowserLauncher for every model in `programs`; those of `pool`'s model may stand ready."""

    def __init__(
        self,
        *,
        starter: BrowserStarter,
        programs: Mapping[Model, Program],
        hand_over: HandOver,
        pool: WarmPool[BlankBrowser],
    ) -> None:
        self._starter = starter
        self._programs = programs
        self._hand_over = hand_over
        self._pool = pool
        self._pooled = pooled_model(programs)

    @property
    def installed(self) -> tuple[InstalledBrowser, ...]:
        """What the node advertises: whole browsers."""
        return tuple(
            InstalledBrowser(model.kind, program.product)
            for model, program in self._programs.items()
            if model.tier is BrowserTier.FULL
        )

    @property
    def tiers(self) -> tuple[BrowserTier, ...]:
        """Tiers that some browser of the node can be had in."""
        return tuple(tier for tier in BrowserTier if any(model.tier is tier for model in self._programs))

    @property
    def warm_count(self) -> int:
        return self._pool.count

    async def launch(self, order: StartOrder) -> ChromiumBrowser:
        program = self._program(order.kind, order.options.tier)
        check_options(order.options)
        _check_known(order.options, program)
        self._hand_over.check(order.options)
        route = self._starter.route_for(order.options)
        with self._pool.standing_back():
            while True:
                blank, start = await self._blank(program)
                try:
                    async with asyncio.timeout(_START_TIMEOUT.total_seconds()):
                        return await self._hand_over.give(blank, order, start, route)
                except (CdpError, OSError, TimeoutError) as error:
                    log.warning("a browser could not be given to its session: %s", error)
                    await blank.discard()
                    if not start.warm:
                        raise BrowserStartFailed("The browser did not come up.") from error
                except BaseException:
                    await asyncio.shield(blank.discard())
                    raise

    async def prove(self, extensions: ExtensionLoader) -> None:
        """Load every extension into a browser that nobody uses. Raises UnusableExtensions, BrowserStartFailed."""
        blank = await self._starter.start(self._programs[self._pooled])
        try:
            folder, user = blank.tree.folders.root, blank.tree.user
            await extensions.prove(multiplexer=blank.pipe, folder=folder, user=user)
        finally:
            await blank.discard()

    def _program(self, kind: BrowserKind, tier: BrowserTier) -> Program:
        if Model(kind) not in self._programs:
            raise BrowserTypeUnavailable("This node has no such browser.", browser_type=kind)
        program = self._programs.get(Model(kind, tier))
        if program is None:
            raise OptionUnavailable("This node has no such browser in this tier.", option="tier", value=tier)
        return program

    async def _blank(self, program: Program) -> tuple[BlankBrowser, Start]:
        if program.model != self._pooled:
            what = "of this tier" if program.model.tier is not BrowserTier.FULL else "of this type"
            return await self._starter.start(program), Start(False, f"Browsers {what} are started for each session.")
        taken = await self._pool.take()
        if taken is None:
            return await self._starter.start(program), _POOL_EMPTY
        return taken.spare, _STOOD_READY if taken.stood_ready else _WAS_STARTING


def pooled_model(programs: Mapping[Model, Program]) -> Model:
    """Return what stands ready: the first whole browser of the table."""
    return next(model for model in programs if model.tier is BrowserTier.FULL)


def _check_known(options: BrowserOptions, program: Program) -> None:
    """Ask nothing of a browser that it said it does not know. Raises InvalidOption, OptionUnavailable."""
    language = options.locale.split("-", 1)[0].lower()
    if language and program.languages and language not in program.languages:
        raise InvalidOption("locale", "names a language that the browser does not know")
    if options.timezone and program.timezones and options.timezone not in program.timezones:
        raise InvalidOption("timezone", "names a time zone that the browser does not know")
    if options.extensions and options.tier is BrowserTier.LEAN:
        value = ", ".join(options.extensions)
        raise OptionUnavailable("The lean tier takes no extensions.", option="extensions", value=value)
