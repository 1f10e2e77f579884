"""Playwright over a session's CDP address."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Literal, TypeAlias
from urllib.parse import urlsplit

from browserfleet.client.errors import AttachFailed
from browserfleet.client.settings import FleetSettings
from browserfleet.session.v1 import session_pb2

if TYPE_CHECKING:
    from playwright.async_api import Browser, Playwright

# Which way a client attaches: straight to the node, through the edge, or the node where it can be dialled.
Via: TypeAlias = Literal["auto", "node", "edge"]

_DIAL_TIMEOUT = timedelta(seconds=1)
# A node that could not be dialled is not tried again for this long.
_UNREACHABLE_FOR = timedelta(seconds=60)
_TOKEN = re.compile(r"(token=)[^\s&\"']+")


class Browsers:
    """Owns one Playwright and everything that it connected; made at the first connect, ended by `close`."""

    def __init__(self, settings: FleetSettings) -> None:
        self._settings = settings
        self._playwright: Playwright | None = None
        self._starting = asyncio.Lock()
        self._unreachable: dict[tuple[str, int], datetime] = {}

    async def connect(self, session: session_pb2.Session, *, via: Via, timeout: timedelta) -> "Browser":
        """Connect to a running session's browser; raises AttachFailed."""
        direct_url = session.attach.direct_url
        if via == "node" or (via == "auto" and direct_url and await self._dialable(direct_url)):
            try:
                return await self._over_cdp(direct_url, {}, timeout)
            except AttachFailed:
                if via == "node":
                    raise
        url, headers = self._edge(session)
        return await self._over_cdp(url, headers, timeout)

    async def close(self) -> None:
        """End Playwright, which detaches every browser it is still connected to."""
        async with self._starting:
            if self._playwright is not None:
                await self._playwright.stop()
                self._playwright = None

    def _edge(self, session: session_pb2.Session) -> tuple[str, dict[str, str]]:
        # The key goes to the address that the caller configured, and in a header. Another edge gets the session's
        # own short-lived token instead.
        if _origin(session.cdp_url) == _origin(self._settings.url):
            return session.cdp_url, {"x-api-key": self._settings.api_key}
        return session.attach.edge_url, {}

    async def _over_cdp(self, url: str, headers: dict[str, str], timeout: timedelta) -> "Browser":
        playwright = await self._started()
        from playwright.async_api import Error

        milliseconds = timeout.total_seconds() * 1000
        try:
            return await playwright.chromium.connect_over_cdp(url, headers=headers, timeout=milliseconds)
        except Error as error:
            # Playwright quotes the URL and its token; the chain is cut so that no traceback prints them.
            raise AttachFailed(_TOKEN.sub(r"\1…", error.message), reason="ATTACH_FAILED") from None

    async def _started(self) -> "Playwright":
        async with self._starting:
            if self._playwright is None:
                start = await asyncio.to_thread(_starter)
                self._playwright = await start()
            return self._playwright

    async def _dialable(self, url: str) -> bool:
        parts = urlsplit(url)
        address = (parts.hostname or "", parts.port or (443 if parts.scheme == "wss" else 80))
        tried_time = self._unreachable.get(address)
        if tried_time is not None and datetime.now(UTC) - tried_time < _UNREACHABLE_FOR:
            return False
        try:
            async with asyncio.timeout(_DIAL_TIMEOUT.total_seconds()):
                _, writer = await asyncio.open_connection(*address)
        except (OSError, TimeoutError):
            self._unreachable[address] = datetime.now(UTC)
            return False
        self._unreachable.pop(address, None)
        writer.close()
        return True


def _starter() -> "Callable[[], Awaitable[Playwright]]":
    # Imported late, and in a thread: it takes 0.3 s, and a caller that only manages sessions never needs it.
    from playwright.async_api import async_playwright

    return async_playwright().start


def _origin(url: str) -> tuple[str, str, int]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
