"""A captcha's place in a page, and how its answer comes there."""

import asyncio
import functools
from datetime import timedelta
from importlib import resources
from typing import Any

import msgspec

from browser_node.adapters.captcha.challenge import Challenge, ChallengeKind, NotSolved
from browser_node.adapters.chromium.cdp.node_session import NodeSession

# A page can answer slowly, or never: its own code runs when it is told.
_PAGE_TIMEOUT = timedelta(seconds=10)


@functools.cache
def script(name: str) -> str:
    """Return one of the scripts for pages. Blocks when it is asked for the first time."""
    return resources.files("browser_node.adapters.captcha").joinpath(name).read_text("utf-8")


class CaptchaPlace:
    """A captcha's place in a page: the world that the node's script has there."""

    def __init__(self, session: NodeSession, session_id: str, context: int, number: int) -> None:
        self._session = session
        self._session_id = session_id
        self._context = context
        self._number = number

    async def is_waiting(self) -> bool:
        """Tell whether the captcha is there and has no answer yet. Raises CdpError, TimeoutError."""
        result = await self._evaluate(f"fleetCaptchas.isWaiting({self._number})")
        return result.get("value") is True

    async def fill(self, answer: str, challenge: Challenge) -> None:
        """Write the answer where the widget would, and tell the page. Raises CdpError, NotSolved, TimeoutError."""
        if not await self.is_waiting():
            raise NotSolved("too-late")
        text = msgspec.json.encode(answer).decode()
        element = await self._evaluate(f"fleetCaptchas.fill({self._number}, {text})", by_value=False)
        if challenge.kind is ChallengeKind.IMAGE:
            return
        # The callback is a function of the page's: the element is looked up again in the page's own world.
        node = await self._call("DOM.describeNode", {"objectId": element["objectId"]})
        resolved = await self._call("DOM.resolveNode", {"backendNodeId": node["node"]["backendNodeId"]})
        told = {
            "functionDeclaration": script("tell.js"),
            "objectId": resolved["object"]["objectId"],
            "arguments": [{"value": answer}, {"value": challenge.site_key}],
        }
        await self._call("Runtime.callFunctionOn", told)

    async def _evaluate(self, expression: str, *, by_value: bool = True) -> dict[str, Any]:  # a remote object
        params = {"expression": expression, "contextId": self._context, "returnByValue": by_value}
        answer = await self._call("Runtime.evaluate", params)
        if "exceptionDetails" in answer:
            raise NotSolved("page-left")
        result: dict[str, Any] = answer["result"]
        return result

    async def _call(self, method: str, params: dict[str, object]) -> dict[str, Any]:  # the result of any command
        async with asyncio.timeout(_PAGE_TIMEOUT.total_seconds()):
            return await self._session.call(method, params, self._session_id)
