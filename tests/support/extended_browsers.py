"""Real browsers with extensions, put to work by hand."""

from typing import Any

from browser_node.adapters.chromium.browser import BrowserPipe, ChromiumBrowser
from browser_node.adapters.chromium.cdp.multiplexer import CdpError
from browser_node.adapters.chromium.cdp.node_session import NodeSession
from browser_node.adapters.chromium.extensions.loader import ExtensionLoader, LoadedExtensions
from browser_node.adapters.chromium.processes.tree import BrowserTree
from browser_node.domain.browser import SessionId
from tests.support.real_browsers import Host
from tests.support.waiting import eventually


class ExtendedBrowser:
    """A warm browser: it is up and has its blank page before anything is loaded into it."""

    def __init__(self, browser: ChromiumBrowser) -> None:
        # What the launcher has in hand when it loads extensions.
        self._pipe: BrowserPipe = browser._pipe
        self._tree: BrowserTree = browser._tree
        self._session = NodeSession(self._pipe, lambda message: None)

    @classmethod
    async def start(cls, host: Host, *, number: int = 0) -> "ExtendedBrowser":
        session_id = SessionId("pbs_" + f"{number:026}")
        return await cls.of(await host.start(session_id=session_id))

    @classmethod
    async def of(cls, browser: ChromiumBrowser) -> "ExtendedBrowser":
        extended = cls(browser)
        await extended._session.open()
        return extended

    async def load(self, loader: ExtensionLoader, *names: str) -> LoadedExtensions:
        return await loader.load(names, multiplexer=self._pipe, folder=self._tree.folders.root, user=self._tree.user)

    async def prove(self, loader: ExtensionLoader) -> None:
        await loader.prove(multiplexer=self._pipe, folder=self._tree.folders.root, user=self._tree.user)

    async def first_page(self) -> "Page":
        targets = (await self._session.call("Target.getTargets"))["targetInfos"]
        return await self._page(next(target["targetId"] for target in targets if target["type"] == "page"))

    async def page_in_own_context(self) -> "Page":
        context = (await self._session.call("Target.createBrowserContext"))["browserContextId"]
        created = await self._session.call("Target.createTarget", {"url": "about:blank", "browserContextId": context})
        return await self._page(created["targetId"])

    async def frame(self, url: str) -> "Page":
        """The frame that shows `url` in a process of its own."""

        async def find() -> str | None:
            targets = (await self._session.call("Target.getTargets"))["targetInfos"]
            return next((each["targetId"] for each in targets if each["type"] == "iframe" and each["url"] == url), None)

        return await self._page(await eventually(find, within=15, what=f"a frame shows {url}"))

    async def _page(self, target_id: str) -> "Page":
        attached = await self._session.call("Target.attachToTarget", {"targetId": target_id, "flatten": True})
        return Page(self._session, str(attached["sessionId"]))


class Page:
    """A page that a test looks into."""

    def __init__(self, session: NodeSession, session_id: str) -> None:
        self._session = session
        self._session_id = session_id

    async def open(self, url: str) -> None:
        """Navigate, and wait until everything that the page names has come or failed."""
        await self._session.call("Page.navigate", {"url": url}, self._session_id)
        await self.until(f"location.href === {url!r} && document.readyState === 'complete'", what=f"{url} is loaded")

    async def value(self, expression: str) -> Any:  # whatever the page says
        answer = await self._session.call(
            "Runtime.evaluate", {"expression": expression, "returnByValue": True}, self._session_id
        )
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    async def until(self, expression: str, *, what: str, within: float = 15) -> Any:  # whatever the page says
        """Wait until an expression is true in the page."""

        async def check() -> Any:  # as above
            try:
                return await self.value(expression)
            except CdpError:
                return None  # between two documents

        return await eventually(check, within=within, what=what)
