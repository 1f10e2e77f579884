"""Who is at a browser in tests of the live view: an agent over CDP, and a person with control; and the pages they meet."""

import asyncio
from contextlib import AsyncExitStack
from typing import Any

from websockets.asyncio.client import connect

from browser_node.adapters.chromium.browser import ChromiumBrowser
from tests.support.live import TestViewer, watching
from tests.support.real_browsers import Host, RawClient

MOVING = "data:text/html,<title>moving</title><h1 id=n>0</h1><script>setInterval(()=>n.textContent=performance.now(),20)</script>"
STILL = "data:text/html,<title>still</title><h1>still</h1>"
FORM = """data:text/html,<title>form</title><style>*{margin:0}textarea,button,input{position:absolute;left:0;width:400px;height:100px}</style>
<textarea id=t style=top:0></textarea>
<button id=b style=top:100px onclick="document.title='asked';document.title=confirm('Sure%3F')">ask</button>
<button style=top:200px onclick="document.title=prompt('Name%3F','you')">name</button>
<input id=f type=file style=top:300px>
<div style=height:5000px></div>"""


class Agent:
    """A CDP client that is attached to the first page."""

    def __init__(self, client: RawClient, page: str) -> None:
        self.client = client
        self.page = page

    async def run(self, method: str, **params: object) -> dict[str, Any]:  # CDP results have any shape
        return await self.client.call(method, params, self.page)

    async def refusal(self, method: str, **params: object) -> str:
        answer = await self.client.answer(await self.client.send(method, params, self.page))
        return str(answer["error"]["message"])

    async def value(self, expression: str) -> object:
        result = await self.run("Runtime.evaluate", expression=expression, returnByValue=True)
        value: object = result["result"].get("value")
        return value

    async def until(self, expression: str, wanted: object) -> None:
        async with asyncio.timeout(10):
            while await self.value(expression) != wanted:  # noqa: ASYNC110  # a page tells nobody
                await asyncio.sleep(0.02)


async def an_agent(stack: AsyncExitStack, host: Host, url: str) -> Agent:
    client = RawClient(await stack.enter_async_context(connect(host.url(), max_size=None)))
    agent = Agent(client, await client.open_page())
    await agent.run("Page.navigate", url=url)
    return agent


async def a_person(stack: AsyncExitStack, host: Host, browser: ChromiumBrowser) -> tuple[TestViewer, int]:
    browser.set_control(1, held=True)
    person = await stack.enter_async_context(watching(host.live_url(control=1)))
    return person, await person.tab()


async def click(person: TestViewer, tab: int, x: float, y: float) -> None:
    """Click at a point of the page."""
    frame = person.frames[-1]
    where = {"x": x / frame.page_width, "y": y / frame.page_height}
    await person.say("mouse_move", tab=tab, **where)
    await person.say("mouse_button", tab=tab, action="down", button="left", buttons=1, **where)
    await person.say("mouse_button", tab=tab, action="up", button="left", **where)
