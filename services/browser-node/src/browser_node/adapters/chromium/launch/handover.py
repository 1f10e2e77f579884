"""Makes a blank browser a session's: what it asks for is applied, and what the browser says of that is written down."""

import asyncio
from dataclasses import dataclass
from datetime import timedelta

from browser_node.adapters.chromium.browser import ChromiumBrowser
from browser_node.adapters.chromium.cdp.multiplexer import CdpError
from browser_node.adapters.chromium.cdp.targets import Targets
from browser_node.adapters.chromium.downloads import Downloads
from browser_node.adapters.chromium.extensions.loader import ExtensionLoader
from browser_node.adapters.chromium.launch.blank import BlankBrowser
from browser_node.adapters.chromium.options.overrides import Overrides
from browser_node.adapters.chromium.options.receipts import (
    Observation,
    default_receipts,
    in_order,
    is_seen_by_pages,
    page_receipts,
)
from browser_node.domain.artifact import ArtifactOrigin
from browser_node.domain.browser import BrowserFacts, StartOrder
from browser_node.domain.options import BrowserOptions, Receipt, ReceiptState
from browser_node.domain.proxies import Route
from browser_node.usecases.ports import ArtifactSpool
from fleetkit.ids import IdSource

# A site that is slow does not hold up its session.
_START_PAGE_TIMEOUT = timedelta(seconds=3)


@dataclass(frozen=True, slots=True)
class Start:
    """Where a browser came from: whether it stood ready, and a sentence about it."""

    warm: bool
    message: str


class HandOver:
    """Gives browsers to sessions."""

    def __init__(self, *, extensions: ExtensionLoader, spool: ArtifactSpool, ids: IdSource) -> None:
        self._extensions = extensions
        self._spool = spool
        self._ids = ids

    def check(self, options: BrowserOptions) -> None:
        """Do nothing when what is asked for can be given. Raises OptionUnavailable."""
        self._extensions.check(options.extensions)

    async def give(self, blank: BlankBrowser, order: StartOrder, start: Start, route: Route) -> ChromiumBrowser:
        """Return the session's browser.

        Raises CdpError, OptionUnavailable, ProxyUnreachable; the blank one is then the caller's still.
        """
        origin = ArtifactOrigin(
            session_id=order.session_id, artifact_token=order.artifact_token, trace_headers=order.trace_headers
        )
        downloads = Downloads(
            multiplexer=blank.pipe,
            folder=blank.tree.folders.downloads,
            owner=blank.tree.user,
            origin=origin,
            spool=self._spool,
        )
        settled = SettledOptions(blank, order, route, self._extensions)
        targets = Targets(blank.pipe)
        await asyncio.gather(downloads.start(), targets.start(), settled.apply())

        def cover(context_id: str) -> None:
            downloads.cover(context_id)
            settled.cover(context_id)

        def restore() -> None:
            downloads.cover(None)
            settled.restore()

        facts = BrowserFacts(
            product=blank.product,
            user_agent=settled.user_agent,
            sandboxed=blank.program.sandboxed,
            warm=start.warm,
            start_message=start.message,
            receipts=settled.receipts,
        )
        return ChromiumBrowser(
            tree=blank.tree,
            pipe=blank.pipe,
            facts=facts,
            downloads=downloads,
            targets=targets,
            origin=origin,
            spool=self._spool,
            ids=self._ids,
            on_context=cover,
            on_client_left=restore,
        )


class SettledOptions:
    """What one session asked of its browser, and what came of it after `apply`."""

    def __init__(self, blank: BlankBrowser, order: StartOrder, route: Route, extensions: ExtensionLoader) -> None:
        self._blank = blank
        self._order = order
        self._route = route
        self._extensions = extensions
        self._options = order.options
        self._overrides = _overrides(blank, order.options)
        self.user_agent = order.options.user_agent or blank.user_agent
        self.receipts: tuple[Receipt, ...] = ()

    async def apply(self) -> None:
        """Raises CdpError, OptionUnavailable, ProxyUnreachable."""
        seen: Observation | None = None
        receipts = default_receipts(
            self._options, kind=self._order.kind, product=self._blank.product, page_size=self._blank.page_size
        )
        # Before anything that could want to go out.
        await self._blank.egress.use(self._route)
        receipts.append(self._blank.egress.receipt(self._options))
        if self._options.extensions:
            receipts.append(await self._extend())
        if self._overrides is not None:
            await self._overrides.hold()
            if is_seen_by_pages(self._options):
                seen = await self._overrides.observe()
                self.user_agent = seen.user_agent
            if self._options.start_url:
                receipts.append(await _visit(self._overrides, self._options.start_url))
        receipts.extend(page_receipts(self._options, seen))
        self.receipts = in_order(receipts)

    async def _extend(self) -> Receipt:
        tree = self._blank.tree
        loaded = await self._extensions.load(
            self._options.extensions, multiplexer=self._blank.pipe, folder=tree.folders.root, user=tree.user
        )
        if loaded.captcha_watch is not None:
            tree.finally_do(loaded.captcha_watch.close)
        return loaded.receipt

    def cover(self, context_id: str) -> None:
        """A client has made a context."""
        if self._overrides is not None:
            self._overrides.cover(context_id)

    def restore(self) -> None:
        """A client has left."""
        if self._overrides is not None:
            self._overrides.restore()


def _overrides(blank: BlankBrowser, options: BrowserOptions) -> Overrides | None:
    """Nothing is held over the pages of a browser that nobody asked anything of."""
    if not (is_seen_by_pages(options) or options.geolocation or options.headers or options.start_url):
        return None
    return Overrides(blank.pipe, options, page=blank.page)


async def _visit(overrides: Overrides, url: str) -> Receipt:
    """Open the start page and wait a little for its first byte."""
    try:
        async with asyncio.timeout(_START_PAGE_TIMEOUT.total_seconds()):
            answer = await overrides.on_page("Page.navigate", {"url": url})
    except TimeoutError:
        message = "The page did not answer yet; it goes on loading."
        return _start_receipt(url, "", ReceiptState.UNVERIFIED, message)
    except CdpError as error:
        return _start_receipt(url, "", ReceiptState.DIFFERENT, f"The browser does not open it: {error}")
    if error_text := str(answer.get("errorText", "")):
        return _start_receipt(url, "", ReceiptState.DIFFERENT, f"The page could not be opened: {error_text}")
    tree = await overrides.on_page("Page.getFrameTree", {})
    return _start_receipt(url, str(tree["frameTree"]["frame"]["url"]), ReceiptState.APPLIED, "")


def _start_receipt(url: str, reported: str, state: ReceiptState, message: str) -> Receipt:
    return Receipt(option="start_url", requested=url, reported=reported, state=state, message=message)
